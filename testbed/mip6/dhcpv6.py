"""DHCPv6 messages: octets to values and back, without any I/O.

Times are in seconds, 0xffffffff means for ever (RFC 8415 section 7.7). A DUID is its octets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from testbed.errors import WireError
from testbed.mip6.names import decode_names

if TYPE_CHECKING:
    from collections.abc import Iterable

INFINITY = 0xFFFFFFFF

_HEADER = struct.Struct("!HH")
_IA_NA = struct.Struct("!III")
_IAADDR = struct.Struct("!16sII")
_MESSAGE = 4  # octets before the options
_ADDRESS = 16
_DUID_LL = b"\x00\x03\x00\x01"  # type 3, hardware type Ethernet


class MessageType(IntEnum):
    """Messages between client and server (RFC 8415 section 7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11


class Code(IntEnum):
    """Option codes (RFC 8415 section 21, RFC 3646, RFC 6610 section 6)."""

    CLIENT_ID = 1
    SERVER_ID = 2
    IA_NA = 3
    IAADDR = 5
    ORO = 6
    PREFERENCE = 7
    ELAPSED_TIME = 8
    STATUS = 13
    RAPID_COMMIT = 14
    DNS_SERVERS = 23
    DOMAIN_LIST = 24
    REFRESH_TIME = 32
    HOME_NETWORK_ID = 49
    VISITED = 50
    IDENTIFIED = 69
    UNRESTRICTED = 70
    HOME_PREFIX = 71
    HOME_AGENT_ADDRESS = 72
    HOME_AGENT_FQDN = 73
    SOL_MAX_RT = 82
    INF_MAX_RT = 83


class StatusCode(IntEnum):
    """Status codes (RFC 8415 section 21.13)."""

    SUCCESS = 0
    UNSPEC_FAIL = 1
    NO_ADDRS_AVAIL = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4
    USE_MULTICAST = 5


Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Status:
    """How a server judges a message or an association; the code may be one that has no name here."""

    code: int = StatusCode.SUCCESS
    text: str = ""

    def __str__(self) -> str:
        known = self.code in StatusCode.__members__.values()
        name = StatusCode(self.code).name if known else f"status {self.code}"
        return f"{name} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class LeasedAddress:
    """An address of an identity association and how long it is good for."""

    address: IPv6Address
    preferred: int
    valid: int
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Association:
    """An identity association for non-temporary addresses (RFC 8415 section 21.4)."""

    iaid: int
    t1: int = 0
    t2: int = 0
    addresses: tuple[LeasedAddress, ...] = ()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Message:
    """A message between client and server: its type, its transaction of 24 bits, its options in their order.

    The accessors give the first option of their code, and raise WireError if its contents are malformed.
    """

    type: MessageType
    transaction: int
    options: tuple[Option, ...] = ()

    def first(self, code: int) -> bytes | None:
        """Give the octets of the first option of this code, None if there is none."""
        return next((octets for found, octets in self.options if found == code), None)

    @property
    def client_id(self) -> bytes | None:
        """The DUID of the client (RFC 8415 section 21.2)."""
        return self.first(Code.CLIENT_ID)

    @property
    def server_id(self) -> bytes | None:
        """The DUID of the server (RFC 8415 section 21.3)."""
        return self.first(Code.SERVER_ID)

    @property
    def associations(self) -> tuple[Association, ...]:
        """Every IA_NA; one whose T1 is above its T2 is left out (RFC 8415 section 21.4)."""
        decoded = (decode_association(octets) for code, octets in self.options if code == Code.IA_NA)
        return tuple(a for a in decoded if not 0 < a.t2 < a.t1)

    @property
    def requested(self) -> tuple[int, ...]:
        """The option codes of the ORO (RFC 8415 section 21.7)."""
        octets = self.first(Code.ORO) or b""
        if len(octets) % 2:
            raise WireError(f"an ORO of {len(octets)} octets")
        return struct.unpack(f"!{len(octets) // 2}H", octets)

    @property
    def elapsed(self) -> float | None:
        """Seconds since the client began (RFC 8415 section 21.9)."""
        hundredths = self._number(Code.ELAPSED_TIME, 2)
        return None if hundredths is None else hundredths / 100

    @property
    def preference(self) -> int:
        """The preference of the server, 0 to 255 (RFC 8415 section 21.8)."""
        return self._number(Code.PREFERENCE, 1) or 0

    @property
    def refresh_time(self) -> int | None:
        """Seconds after which stateless information is to be asked anew (RFC 8415 section 21.23)."""
        return self._number(Code.REFRESH_TIME, 4)

    @property
    def sol_max_rt(self) -> int | None:
        """The longest time between two Solicits that the server wants (RFC 8415 section 21.24)."""
        return self._number(Code.SOL_MAX_RT, 4)

    @property
    def inf_max_rt(self) -> int | None:
        """The same for two Information-requests (RFC 8415 section 21.25)."""
        return self._number(Code.INF_MAX_RT, 4)

    @property
    def status(self) -> Status:
        """The status of the message as a whole, success if it has none (RFC 8415 section 21.13)."""
        return _status(self.options)

    @property
    def rapid_commit(self) -> bool:
        """Whether the exchange is the short one (RFC 8415 section 21.14)."""
        return self.first(Code.RAPID_COMMIT) is not None

    @property
    def dns_servers(self) -> tuple[IPv6Address, ...]:
        """DNS servers, the preferred first (RFC 3646 section 3)."""
        octets = self.first(Code.DNS_SERVERS) or b""
        return tuple(_address(octets[at : at + _ADDRESS]) for at in range(0, len(octets), _ADDRESS))

    @property
    def domains(self) -> tuple[str, ...]:
        """DNS search domains (RFC 3646 section 4)."""
        return decode_names(self.first(Code.DOMAIN_LIST) or b"")

    def encode(self) -> bytes:
        """Give the octets of the message (RFC 8415 section 8)."""
        return bytes((self.type,)) + self.transaction.to_bytes(3, "big") + encode_options(self.options)

    def _number(self, code: Code, size: int) -> int | None:
        octets = self.first(code)
        if octets is not None and len(octets) != size:
            raise WireError(f"option {code.name} of {len(octets)} octets, {size} are required")
        return None if octets is None else int.from_bytes(octets, "big")


def decode(octets: bytes) -> Message:
    """Take a message between client and server apart, its options not looked into.

    Raises:
        WireError: too short, a relay's message or of unknown type, an option longer than what is left.

    Source: RFC 8415 sections 8 and 21.1.
    """
    if len(octets) < _MESSAGE:
        raise WireError("shorter than a DHCPv6 header", offset=len(octets))
    try:
        kind = MessageType(octets[0])
    except ValueError as error:
        raise WireError(f"type {octets[0]} is none of client and server") from error
    return Message(kind, int.from_bytes(octets[1:4], "big"), decode_options(octets, _MESSAGE))


def encode_options(options: Iterable[Option]) -> bytes:
    """Give options one behind the other (RFC 8415 section 21.1)."""
    return b"".join(_HEADER.pack(code, len(octets)) + octets for code, octets in options)


def decode_options(octets: bytes, start: int = 0) -> tuple[Option, ...]:
    """Take options apart, from an offset to the end.

    Raises:
        WireError: an option longer than what is left.

    Source: RFC 8415 section 21.1.
    """
    options: list[Option] = []
    at = start
    while at < len(octets):
        if at + _HEADER.size > len(octets):
            raise WireError("an option without its header", offset=at)
        code, length = _HEADER.unpack_from(octets, at)
        begin, at = at + _HEADER.size, at + _HEADER.size + length
        if at > len(octets):
            raise WireError(f"option {code} of {length} octets is cut off", offset=begin)
        options.append((code, octets[begin:at]))
    return tuple(options)


def duid_ll(mac: bytes) -> bytes:
    """Give the DUID of a link-layer address of Ethernet, 6 octets (RFC 8415 section 11.4)."""
    return _DUID_LL + mac


def encode_association(association: Association) -> bytes:
    """Give the contents of an IA_NA; a status of success without text is left out (RFC 8415 21.4, 21.6)."""
    options: list[Option] = []
    for leased in association.addresses:
        body = _IAADDR.pack(leased.address.packed, leased.preferred, leased.valid)
        options.append((Code.IAADDR, body + encode_options(encode_status(leased.status))))
    options += encode_status(association.status)
    return _IA_NA.pack(association.iaid, association.t1, association.t2) + encode_options(options)


def decode_association(octets: bytes) -> Association:
    """Take the contents of an IA_NA apart; an address preferred for longer than it is valid is left out.

    Raises:
        WireError: too short, or an option inside is malformed.

    Source: RFC 8415 sections 21.4 and 21.6.
    """
    if len(octets) < _IA_NA.size:
        raise WireError(f"an IA_NA of {len(octets)} octets")
    options = decode_options(octets, _IA_NA.size)
    addresses = tuple(_leased(body) for code, body in options if code == Code.IAADDR)
    alive = tuple(leased for leased in addresses if leased.preferred <= leased.valid)
    iaid, t1, t2 = _IA_NA.unpack_from(octets)
    return Association(iaid, t1, t2, alive, _status(options))


def encode_status(status: Status) -> tuple[Option, ...]:
    """Give a status as options: none for a success without text (RFC 8415 section 21.13)."""
    if status == Status():
        return ()
    return ((Code.STATUS, status.code.to_bytes(2, "big") + status.text.encode()),)


def _address(octets: bytes) -> IPv6Address:
    if len(octets) != _ADDRESS:
        raise WireError(f"an address of {len(octets)} octets")
    return IPv6Address(octets)


def _leased(octets: bytes) -> LeasedAddress:
    if len(octets) < _IAADDR.size:
        raise WireError(f"an IAADDR of {len(octets)} octets")
    address, preferred, valid = _IAADDR.unpack_from(octets)
    return LeasedAddress(IPv6Address(address), preferred, valid, _status(decode_options(octets, _IAADDR.size)))


def _status(options: Iterable[Option]) -> Status:
    octets = next((body for code, body in options if code == Code.STATUS), None)
    if octets is None:
        return Status()
    if len(octets) < 2:  # noqa: PLR2004 - the code alone
        raise WireError("a status without its code")
    return Status(int.from_bytes(octets[:2], "big"), octets[2:].decode(errors="replace"))
