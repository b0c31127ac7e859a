"""The messages of the Mobility Header, one frozen dataclass each, and their codec.

What a receiver owes to a bad message (RFC 6275 section 9.2) follows from the error that ``decode`` raises:

* ChecksumError: discard in silence;
* UnknownTypeError: discard, send a Binding Error of status 2;
* WireError at offset 0 (Payload Proto) or 1 (Header Len): discard, send an ICMPv6 Parameter Problem of code 0
  whose pointer is that offset;
* WireError at any other offset: an option is malformed, discard.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

from testbed.errors import WireError
from testbed.mip6.wire.checksum import checksum
from testbed.mip6.wire.errors import ChecksumError, UnknownTypeError
from testbed.mip6.wire.numbers import (
    LIFETIME_UNIT,
    MOBILITY,
    NO_NEXT_HEADER,
    AckFlags,
    BindingFlags,
    BindingStatus,
    MobilityType,
    RevocationFlags,
)
from testbed.mip6.wire.options import Option, read_options, write_options

if TYPE_CHECKING:
    from collections.abc import Callable


_NO_FLAGS: Final = RevocationFlags(0)


@dataclass(frozen=True, slots=True)
class BindingRefreshRequest:
    """Asks a mobile node to renew its binding (RFC 6275 section 6.1.2)."""

    type: ClassVar = MobilityType.BINDING_REFRESH_REQUEST
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeTestInit:
    """Asks a correspondent node, through the home agent, for a home keygen token (RFC 6275 section 6.1.3).

    ``cookie`` is 8 octets.
    """

    type: ClassVar = MobilityType.HOME_TEST_INIT
    cookie: bytes
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class CareOfTestInit:
    """Asks a correspondent node for a care-of keygen token (RFC 6275 section 6.1.4).

    ``cookie`` is 8 octets.
    """

    type: ClassVar = MobilityType.CARE_OF_TEST_INIT
    cookie: bytes
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeTest:
    """Answers a Home Test Init (RFC 6275 section 6.1.5); ``cookie`` and ``token`` are 8 octets each."""

    type: ClassVar = MobilityType.HOME_TEST
    nonce_index: int
    cookie: bytes
    token: bytes
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class CareOfTest:
    """Answers a Care-of Test Init (RFC 6275 section 6.1.6); ``cookie`` and ``token`` are 8 octets each."""

    type: ClassVar = MobilityType.CARE_OF_TEST
    nonce_index: int
    cookie: bytes
    token: bytes
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingUpdate:
    """Binds the home address to a care-of address for ``lifetime_units`` of 4 s (RFC 6275 section 6.1.7)."""

    type: ClassVar = MobilityType.BINDING_UPDATE
    sequence: int
    flags: BindingFlags
    lifetime_units: int
    options: tuple[Option, ...] = ()

    @property
    def lifetime(self) -> int:
        """The requested lifetime in seconds; 0 deletes the binding."""
        return self.lifetime_units * LIFETIME_UNIT


@dataclass(frozen=True, slots=True)
class BindingAcknowledgement:
    """Answers a Binding Update (RFC 6275 section 6.1.8); ``status`` may be a number without a name."""

    type: ClassVar = MobilityType.BINDING_ACKNOWLEDGEMENT
    status: int
    flags: AckFlags
    sequence: int
    lifetime_units: int
    options: tuple[Option, ...] = ()

    @property
    def lifetime(self) -> int:
        """The granted lifetime in seconds; without meaning in a refusal."""
        return self.lifetime_units * LIFETIME_UNIT

    @property
    def accepted(self) -> bool:
        """Whether the binding was accepted: any status below 128."""
        return self.status < BindingStatus.REASON_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class BindingError:
    """Says that a packet had no binding or a message no known type (RFC 6275 section 6.1.9)."""

    type: ClassVar = MobilityType.BINDING_ERROR
    status: int
    home_address: IPv6Address
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeAgentSwitch:
    """Asks a mobile node to move to one of ``addresses``, or to discover if none (RFC 5142 section 4)."""

    type: ClassVar = MobilityType.HOME_AGENT_SWITCH
    addresses: tuple[IPv6Address, ...] = ()
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingRevocation:
    """Revokes a binding or acknowledges that, as ``kind`` says (RFC 5846 section 5).

    ``code`` is the RevocationTrigger of an indication and the RevocationStatus of an acknowledgement.
    """

    type: ClassVar = MobilityType.BINDING_REVOCATION
    kind: int
    code: int
    sequence: int
    flags: RevocationFlags = _NO_FLAGS
    options: tuple[Option, ...] = ()


Message: TypeAlias = (
    BindingRefreshRequest
    | HomeTestInit
    | CareOfTestInit
    | HomeTest
    | CareOfTest
    | BindingUpdate
    | BindingAcknowledgement
    | BindingError
    | HomeAgentSwitch
    | BindingRevocation
)


class _Rule(NamedTuple):
    """How one kind of message stands on the wire; ``size`` is the octets before its options."""

    kind: type[Message]
    size: int
    read: Callable[[bytes], Message]
    write: Callable[[Any], bytes]  # what follows the checksum, up to the options


_HEADER: Final = struct.Struct("!BBBBH")  # Payload Proto, Header Len, MH Type, reserved, checksum
_INIT: Final = struct.Struct("!2x8s")
_TEST: Final = struct.Struct("!H8s8s")
_UPDATE: Final = struct.Struct("!HHH")
_ACKNOWLEDGEMENT: Final = struct.Struct("!BBHH")
_ERROR: Final = struct.Struct("!Bx16s")
_SWITCH: Final = struct.Struct("!Bx")
_REVOCATION: Final = struct.Struct("!BBHH")
_FIELDS: Final = _HEADER.size
_SMALLEST: Final = 8  # octets of the shortest Mobility Header, whose Header Len is 0


def _read_init(kind: Callable[[bytes, tuple[Option, ...]], Message], octets: bytes) -> Message:
    (cookie,) = _INIT.unpack_from(octets, _FIELDS)
    return kind(cookie, read_options(octets, 16))


def _read_test(kind: Callable[[int, bytes, bytes, tuple[Option, ...]], Message], octets: bytes) -> Message:
    nonce_index, cookie, token = _TEST.unpack_from(octets, _FIELDS)
    return kind(nonce_index, cookie, token, read_options(octets, 24))


def _write_init(message: HomeTestInit | CareOfTestInit) -> bytes:
    return _INIT.pack(_eight(message.cookie))


def _write_test(message: HomeTest | CareOfTest) -> bytes:
    return _TEST.pack(message.nonce_index, _eight(message.cookie), _eight(message.token))


def _eight(octets: bytes) -> bytes:
    if len(octets) != 8:  # noqa: PLR2004 - RFC 6275 section 6.1.3
        # struct would cut them or fill them up in silence
        raise ValueError(f"{len(octets)} octets where 8 must stand")
    return octets


def _read_update(octets: bytes) -> BindingUpdate:
    sequence, flags, lifetime = _UPDATE.unpack_from(octets, _FIELDS)
    return BindingUpdate(sequence, BindingFlags(flags), lifetime, read_options(octets, 12))


def _write_update(update: BindingUpdate) -> bytes:
    return _UPDATE.pack(update.sequence, update.flags, update.lifetime_units)


def _read_acknowledgement(octets: bytes) -> BindingAcknowledgement:
    status, flags, sequence, lifetime = _ACKNOWLEDGEMENT.unpack_from(octets, _FIELDS)
    return BindingAcknowledgement(status, AckFlags(flags), sequence, lifetime, read_options(octets, 12))


def _write_acknowledgement(ack: BindingAcknowledgement) -> bytes:
    return _ACKNOWLEDGEMENT.pack(ack.status, ack.flags, ack.sequence, ack.lifetime_units)


def _read_error(octets: bytes) -> BindingError:
    status, home = _ERROR.unpack_from(octets, _FIELDS)
    return BindingError(status, IPv6Address(home), read_options(octets, 24))


def _read_switch(octets: bytes) -> HomeAgentSwitch:
    (count,) = _SWITCH.unpack_from(octets, _FIELDS)
    end = 8 + 16 * count
    if end > len(octets):
        raise WireError(f"Header Len is too small for {count} home agents", offset=1)
    addresses = tuple(IPv6Address(octets[at : at + 16]) for at in range(8, end, 16))
    return HomeAgentSwitch(addresses, read_options(octets, end))


def _write_switch(switch: HomeAgentSwitch) -> bytes:
    return _SWITCH.pack(len(switch.addresses)) + b"".join(address.packed for address in switch.addresses)


def _read_revocation(octets: bytes) -> BindingRevocation:
    kind, code, sequence, flags = _REVOCATION.unpack_from(octets, _FIELDS)
    return BindingRevocation(kind, code, sequence, RevocationFlags(flags), read_options(octets, 12))


def _write_revocation(revocation: BindingRevocation) -> bytes:
    return _REVOCATION.pack(revocation.kind, revocation.code, revocation.sequence, revocation.flags)


_RULES: Final = (
    _Rule(
        BindingRefreshRequest,
        8,
        lambda octets: BindingRefreshRequest(read_options(octets, 8)),
        lambda _: bytes(2),
    ),
    _Rule(HomeTestInit, 16, partial(_read_init, HomeTestInit), _write_init),
    _Rule(CareOfTestInit, 16, partial(_read_init, CareOfTestInit), _write_init),
    _Rule(HomeTest, 24, partial(_read_test, HomeTest), _write_test),
    _Rule(CareOfTest, 24, partial(_read_test, CareOfTest), _write_test),
    _Rule(BindingUpdate, 12, _read_update, _write_update),
    _Rule(BindingAcknowledgement, 12, _read_acknowledgement, _write_acknowledgement),
    _Rule(BindingError, 24, _read_error, lambda error: _ERROR.pack(error.status, error.home_address.packed)),
    _Rule(HomeAgentSwitch, 8, _read_switch, _write_switch),
    _Rule(BindingRevocation, 12, _read_revocation, _write_revocation),
)
_READERS: Final = {int(rule.kind.type): (rule.size, rule.read) for rule in _RULES}
_WRITERS: Final[dict[type, Callable[[Any], bytes]]] = {rule.kind: rule.write for rule in _RULES}


def encode(message: Message, source: IPv6Address, destination: IPv6Address) -> bytes:
    """Make the Mobility Header of ``message``, aligned, padded and checksummed.

    ``source`` and ``destination`` are those of the checksum: the home address, where a Home Address option or
    a type 2 routing header carries it.

    RFC 6275 sections 6.1.1 and 6.2.

    Raises:
        WireError: a value does not fit its field, or the message its 2048 octets.
    """
    try:
        octets = bytearray(_HEADER.pack(NO_NEXT_HEADER, 0, message.type, 0, 0))
        octets += _WRITERS[type(message)](message)
        write_options(octets, message.options)
        octets[1] = len(octets) // 8 - 1
    except (struct.error, ValueError) as error:
        raise WireError(f"a value does not fit its field: {error}") from error
    octets[4:6] = checksum(source, destination, MOBILITY, octets).to_bytes(2, "big")
    return bytes(octets)


def decode(octets: bytes, source: IPv6Address, destination: IPv6Address, *, verify: bool = True) -> Message:
    """Read the Mobility Header at the start of ``octets``; what follows it is ignored.

    ``source`` and ``destination`` are those of the checksum, as in ``encode``; with ``verify`` false, for a
    socket whose kernel has verified it, the checksum is not looked at. The checks and their order are RFC
    6275 section 9.2.

    Raises:
        ChecksumError: the checksum is wrong, or the header is cut off so that nothing can be said about it.
        UnknownTypeError: no message of this codec has this MH Type.
        WireError: Payload Proto is not 59 (offset 0), Header Len is too small for the type (offset 1), or an
            option is malformed (offset of its type octet).
    """
    length = 8 * (octets[1] + 1) if len(octets) >= _SMALLEST else _SMALLEST
    if length > len(octets):
        raise ChecksumError("Mobility Header is cut off", offset=len(octets))
    if length < len(octets):
        octets = octets[:length]
    if verify and checksum(source, destination, MOBILITY, octets):
        raise ChecksumError("checksum of the Mobility Header is wrong", offset=4)
    rule = _READERS.get(octets[2])
    if rule is None:
        raise UnknownTypeError(f"MH Type {octets[2]} is unknown", type=octets[2], offset=2)
    if octets[0] != NO_NEXT_HEADER:
        raise WireError(f"Payload Proto is {octets[0]}, not {NO_NEXT_HEADER}", offset=0)
    size, read = rule
    if length < size:
        raise WireError(f"Header Len {octets[1]} is too small for MH Type {octets[2]}", offset=1)
    return read(octets)
