"""Mobility options: a frozen dataclass each, read in order, written with the padding that alignment demands.

Padding never becomes an object: reading drops it, writing inserts it. An option of an unknown type is kept as
octets, because a receiver must skip it and go on (RFC 6275 section 6.2.1). The order of the options is the
caller's: the codec neither sorts nor refuses, so that a test can send what the RFCs forbid.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from testbed.errors import WireError
from testbed.mip6.wire.numbers import LIFETIME_UNIT, IdentifierSubtype, OptionType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AUTHENTICATOR_SIZE: Final = 12  # octets, 96 bits: RFC 6275 section 6.2.7, RFC 4285 section 5.1


@dataclass(frozen=True, slots=True)
class BindingRefreshAdvice:
    """When the mobile node should register again: ``interval_units`` of 4 s (RFC 6275 section 6.2.4)."""

    code: ClassVar = OptionType.BINDING_REFRESH_ADVICE
    interval_units: int

    @property
    def interval(self) -> int:
        """The interval in seconds."""
        return self.interval_units * LIFETIME_UNIT


@dataclass(frozen=True, slots=True)
class AlternateCareOfAddress:
    """The care-of address to bind in place of the packet's source address (RFC 6275 section 6.2.5)."""

    code: ClassVar = OptionType.ALTERNATE_CARE_OF_ADDRESS
    address: IPv6Address


@dataclass(frozen=True, slots=True)
class NonceIndices:
    """Which nonces of the correspondent node made the keygen tokens (RFC 6275 section 6.2.6)."""

    code: ClassVar = OptionType.NONCE_INDICES
    home: int
    care_of: int


@dataclass(frozen=True, slots=True)
class BindingAuthorizationData:
    """The authenticator of return routability, last in its message (RFC 6275 section 6.2.7).

    A new one is blank until ``auth.authorize`` fills it in.
    """

    code: ClassVar = OptionType.BINDING_AUTHORIZATION_DATA
    authenticator: bytes = bytes(AUTHENTICATOR_SIZE)


@dataclass(frozen=True, slots=True)
class MobileNodeIdentifier:
    """Who the mobile node is: octets, read by ``subtype`` (RFC 4283 section 3)."""

    code: ClassVar = OptionType.MOBILE_NODE_IDENTIFIER
    identifier: bytes
    subtype: int = IdentifierSubtype.NAI

    @property
    def nai(self) -> str | None:
        """The network access identifier; None if this is another kind or no UTF-8 (RFC 4283 section 3.1)."""
        if self.subtype != IdentifierSubtype.NAI:
            return None
        try:
            return self.identifier.decode()
        except UnicodeDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class MobilityAuthentication:
    """An authenticator by a key shared with the peer that ``subtype`` names (RFC 4285 section 5).

    A new one is blank until ``auth.sign`` fills it in.
    """

    code: ClassVar = OptionType.MOBILITY_AUTHENTICATION
    subtype: int
    spi: int
    authenticator: bytes = bytes(AUTHENTICATOR_SIZE)


@dataclass(frozen=True, slots=True)
class ReplayProtection:
    """MESG-ID: a 64-bit NTP timestamp, ever growing for one mobile node (RFC 4285 section 6)."""

    code: ClassVar = OptionType.REPLAY_PROTECTION
    timestamp: int


@dataclass(frozen=True, slots=True)
class DnsUpdate:
    """A wish that the home agent writes, or with ``remove`` deletes, the AAAA record of ``fqdn``.

    ``status`` counts in an acknowledgement only. RFC 5026 section 8.1 leaves the encoding of the name open:
    here it is the presentation form in printable ASCII, not DNS labels.
    """

    code: ClassVar = OptionType.DNS_UPDATE
    fqdn: str
    remove: bool = False
    status: int = 0


@dataclass(frozen=True, slots=True)
class ServiceSelection:
    """The service that the binding is for, 1 to 255 octets of UTF-8 (RFC 5149 section 3)."""

    code: ClassVar = OptionType.SERVICE_SELECTION
    identifier: str


@dataclass(frozen=True, slots=True)
class UnknownOption:
    """An option of a type that this codec does not know, as it stood (RFC 6275 section 6.2.1)."""

    code: int
    data: bytes


Option: TypeAlias = (
    BindingRefreshAdvice
    | AlternateCareOfAddress
    | NonceIndices
    | BindingAuthorizationData
    | MobileNodeIdentifier
    | MobilityAuthentication
    | ReplayProtection
    | DnsUpdate
    | ServiceSelection
    | UnknownOption
)
OptionT = TypeVar("OptionT", bound=Option)


class HasOptions(Protocol):
    """A message that carries mobility options."""

    @property
    def options(self) -> tuple[Option, ...]:
        """The options in the order of the message."""


def option(message: HasOptions, kind: type[OptionT]) -> OptionT | None:
    """The first option of ``kind`` in ``message``, or None: duplicates do not count."""
    for candidate in message.options:
        if isinstance(candidate, kind):
            return candidate
    return None


class _Rule(NamedTuple):
    """How one kind of option stands on the wire; alignment (m, r) is m * n + r octets into the header."""

    kind: type[Any]
    alignment: tuple[int, int]
    read: Callable[[bytes], Option]  # raises ValueError or struct.error on data that it cannot read
    write: Callable[[Any], bytes]


_UNIT: Final = struct.Struct("!H")
_INDICES: Final = struct.Struct("!HH")
_AUTHENTICATION: Final = struct.Struct("!BI")
_TIMESTAMP: Final = struct.Struct("!Q")
_DNS: Final = struct.Struct("!BB")
_DNS_REMOVE: Final = 0x80  # the R flag: RFC 5026 section 8.1


def _read_authentication(data: bytes) -> MobilityAuthentication:
    subtype, spi = _AUTHENTICATION.unpack_from(data)
    return MobilityAuthentication(subtype, spi, data[_AUTHENTICATION.size :])


def _read_identifier(data: bytes) -> MobileNodeIdentifier:
    if not data:
        raise ValueError("no subtype")
    return MobileNodeIdentifier(data[1:], data[0])


def _read_dns(data: bytes) -> DnsUpdate:
    status, flags = _DNS.unpack_from(data)
    return DnsUpdate(_printable(data[_DNS.size :].decode("ascii")), bool(flags & _DNS_REMOVE), status)


def _printable(name: str) -> str:
    if not name or not name.isprintable():
        raise ValueError("a name must be printable")
    return name


def _write_dns(update: DnsUpdate) -> bytes:
    flags = _DNS_REMOVE if update.remove else 0
    return _DNS.pack(update.status, flags) + _printable(update.fqdn).encode("ascii")


def _service(identifier: str) -> str:
    if not identifier:
        raise ValueError("a service must have a name")  # a length of zero is not allowed: RFC 5149 section 3
    return identifier


# Alignment: RFC 6275 sections 6.2.4 to 6.2.7, RFC 4285 sections 5 and 6; the others have none. Binding
# Authorization Data ends its message without padding, which for 12 octets is 8n + 2.
_RULES: Final = (
    _Rule(
        BindingRefreshAdvice,
        (2, 0),
        lambda data: BindingRefreshAdvice(*_UNIT.unpack(data)),
        lambda advice: _UNIT.pack(advice.interval_units),
    ),
    _Rule(
        AlternateCareOfAddress,
        (8, 6),
        lambda data: AlternateCareOfAddress(IPv6Address(data)),
        lambda alternate: alternate.address.packed,
    ),
    _Rule(
        NonceIndices,
        (2, 0),
        lambda data: NonceIndices(*_INDICES.unpack(data)),
        lambda indices: _INDICES.pack(indices.home, indices.care_of),
    ),
    _Rule(
        BindingAuthorizationData,
        (8, 2),
        BindingAuthorizationData,
        lambda authorization: authorization.authenticator,
    ),
    _Rule(
        MobileNodeIdentifier,
        (1, 0),
        _read_identifier,
        lambda identity: bytes((identity.subtype,)) + identity.identifier,
    ),
    _Rule(
        MobilityAuthentication,
        (4, 1),
        _read_authentication,
        lambda proof: _AUTHENTICATION.pack(proof.subtype, proof.spi) + proof.authenticator,
    ),
    _Rule(
        ReplayProtection,
        (8, 2),
        lambda data: ReplayProtection(*_TIMESTAMP.unpack(data)),
        lambda replay: _TIMESTAMP.pack(replay.timestamp),
    ),
    _Rule(DnsUpdate, (1, 0), _read_dns, _write_dns),
    _Rule(
        ServiceSelection,
        (1, 0),
        lambda data: ServiceSelection(_service(data.decode())),
        lambda service: _service(service.identifier).encode(),
    ),
)
_READERS: Final = {int(rule.kind.code): rule.read for rule in _RULES}
_WRITERS: Final[dict[type, tuple[tuple[int, int], Callable[[Any], bytes]]]] = {
    UnknownOption: ((1, 0), lambda unknown: unknown.data),
    **{rule.kind: (rule.alignment, rule.write) for rule in _RULES},
}

# Pad1 for one octet, PadN for more: RFC 6275 sections 6.2.2 and 6.2.3.
_PAD1: Final = int(OptionType.PAD1)
_PADN: Final = int(OptionType.PADN)
_PADDING: Final = (b"", b"\0", *(bytes((_PADN, more)) + bytes(more) for more in range(6)))


def spans(octets: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(code, start, stop)`` of each option but padding, where ``octets[start:stop]`` is its data.

    The destination options of IPv6 have the same shape (RFC 6275 section 6.2.1, RFC 8200 section 4.2).

    Raises:
        WireError: an option reaches beyond ``end``; ``.offset`` is that of its type octet.
    """
    while offset < end:
        code = octets[offset]
        if code == _PAD1:
            offset += 1
            continue
        start = offset + 2
        stop = start + octets[offset + 1] if start <= end else start
        if stop > end:
            raise WireError(f"option {code} is cut off", offset=offset)
        if code != _PADN:
            yield code, start, stop
        offset = stop


def read_options(octets: bytes, offset: int) -> tuple[Option, ...]:
    """Read the options that stand in ``octets`` from ``offset`` to the end, in order, without padding.

    Raises:
        WireError: an option is cut off or holds what its type does not allow; ``.offset`` is that of its type
            octet.
    """
    options: list[Option] = []
    for code, start, stop in spans(octets, offset, len(octets)):
        data = octets[start:stop]
        reader = _READERS.get(code)
        try:
            options.append(reader(data) if reader else UnknownOption(code, data))
        except (struct.error, ValueError) as error:
            raise WireError(f"option {code} is malformed: {error}", offset=start - 2) from error
    return tuple(options)


def write_options(octets: bytearray, options: Iterable[Option]) -> None:
    """Append ``options`` to the Mobility Header ``octets``, each aligned, and pad it to a multiple of 8.

    Raises:
        ValueError, struct.error: a value does not fit its field.
    """
    for item in options:
        (modulus, remainder), write = _WRITERS[type(item)]
        data = write(item)
        octets += _PADDING[(remainder - len(octets)) % modulus]
        octets += bytes((item.code, len(data)))
        octets += data
    octets += _PADDING[-len(octets) % 8]
