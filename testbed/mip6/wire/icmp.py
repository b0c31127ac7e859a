"""The ICMPv6 messages of Mobile IPv6, and the Parameter Problem that answers a bad header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from testbed.errors import WireError
from testbed.mip6.wire.checksum import checksum
from testbed.mip6.wire.errors import ChecksumError, UnknownTypeError
from testbed.mip6.wire.numbers import ICMPV6, IcmpType, PrefixFlags, RouterFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEADER: Final = struct.Struct("!BBH")  # type, code, checksum
_IDENTIFIER: Final = struct.Struct("!HH")  # identifier, reserved or flags
_POINTER: Final = struct.Struct("!I")
_PREFIX: Final = struct.Struct("!BBBBII4x16s")
_FIELDS: Final = 8  # octets of every message here, before addresses, options or a packet
_PREFIX_INFORMATION: Final = 3  # RFC 4861 section 4.6.2
_LONGEST_PREFIX: Final = 128
_NO_FLAGS: Final = RouterFlags(0)
_INVOKING_SIZE: Final = 1280 - 40 - 8  # what fits the minimum MTU of IPv6: RFC 4443 section 3.4


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """Says which octet of ``packet`` cannot be processed (RFC 4443 section 3.4).

    Encoding cuts the packet so that the message fits the minimum MTU.
    """

    type: ClassVar = IcmpType.PARAMETER_PROBLEM
    code: int
    pointer: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class HomeAgentDiscoveryRequest:
    """Asks the home agents of a home link, by anycast, for their addresses (RFC 6275 section 6.5)."""

    type: ClassVar = IcmpType.HOME_AGENT_DISCOVERY_REQUEST
    code: ClassVar = 0
    identifier: int


@dataclass(frozen=True, slots=True)
class HomeAgentDiscoveryReply:
    """Lists the home agents of a home link, most preferred first (RFC 6275 section 6.6)."""

    type: ClassVar = IcmpType.HOME_AGENT_DISCOVERY_REPLY
    code: ClassVar = 0
    identifier: int
    addresses: tuple[IPv6Address, ...] = ()


@dataclass(frozen=True, slots=True)
class MobilePrefixSolicitation:
    """Asks a home agent for the prefixes of the home link (RFC 6275 section 6.7)."""

    type: ClassVar = IcmpType.MOBILE_PREFIX_SOLICITATION
    code: ClassVar = 0
    identifier: int


@dataclass(frozen=True, slots=True)
class PrefixInformation:
    """A prefix of the home link; lifetimes in seconds, 0xffffffff without end (RFC 6275 section 7.2).

    With the ROUTER_ADDRESS flag ``prefix`` is the whole address of the router.
    """

    prefix: IPv6Address
    prefix_length: int
    flags: PrefixFlags
    valid_lifetime: int
    preferred_lifetime: int


@dataclass(frozen=True, slots=True)
class MobilePrefixAdvertisement:
    """Tells a mobile node the prefixes of its home link (RFC 6275 section 6.8); other options are skipped."""

    type: ClassVar = IcmpType.MOBILE_PREFIX_ADVERTISEMENT
    code: ClassVar = 0
    identifier: int
    flags: RouterFlags = _NO_FLAGS
    prefixes: tuple[PrefixInformation, ...] = ()


IcmpMessage: TypeAlias = (
    ParameterProblem
    | HomeAgentDiscoveryRequest
    | HomeAgentDiscoveryReply
    | MobilePrefixSolicitation
    | MobilePrefixAdvertisement
)


def _read_problem(octets: bytes) -> ParameterProblem:
    (pointer,) = _POINTER.unpack_from(octets, _HEADER.size)
    return ParameterProblem(octets[1], pointer, octets[_FIELDS:])


def _write_problem(problem: ParameterProblem) -> bytes:
    return _POINTER.pack(problem.pointer) + problem.packet[:_INVOKING_SIZE]


def _read_identifier(octets: bytes) -> tuple[int, int]:
    identifier, flags = _IDENTIFIER.unpack_from(octets, _HEADER.size)
    return identifier, flags


def _read_reply(octets: bytes) -> HomeAgentDiscoveryReply:
    if len(octets) % 16 != _FIELDS:
        raise WireError("the last home agent address is cut off", offset=len(octets))
    addresses = tuple(IPv6Address(octets[at : at + 16]) for at in range(_FIELDS, len(octets), 16))
    return HomeAgentDiscoveryReply(_read_identifier(octets)[0], addresses)


def _write_reply(reply: HomeAgentDiscoveryReply) -> bytes:
    return _IDENTIFIER.pack(reply.identifier, 0) + b"".join(address.packed for address in reply.addresses)


def _read_advertisement(octets: bytes) -> MobilePrefixAdvertisement:
    identifier, flags = _read_identifier(octets)
    return MobilePrefixAdvertisement(identifier, RouterFlags(flags), tuple(_read_prefixes(octets)))


def _read_prefixes(octets: bytes) -> Iterator[PrefixInformation]:
    at = _FIELDS
    while at < len(octets):
        stop = at + 8 * octets[at + 1] if at + 1 < len(octets) else at
        if not at < stop <= len(octets):  # a length of zero too: RFC 4861 section 4.6
            raise WireError(f"neighbour discovery option {octets[at]} is cut off", offset=at)
        if octets[at] == _PREFIX_INFORMATION:
            if stop - at != _PREFIX.size:
                raise WireError(f"Prefix Information of {stop - at} octets, not {_PREFIX.size}", offset=at + 1)
            _, _, length, flags, valid, preferred, prefix = _PREFIX.unpack_from(octets, at)
            if length > _LONGEST_PREFIX:
                raise WireError(f"prefix length is {length}", offset=at + 2)
            yield PrefixInformation(IPv6Address(prefix), length, PrefixFlags(flags), valid, preferred)
        at = stop


def _write_advertisement(advertisement: MobilePrefixAdvertisement) -> bytes:
    return _IDENTIFIER.pack(advertisement.identifier, advertisement.flags) + b"".join(
        _PREFIX.pack(
            _PREFIX_INFORMATION,
            _PREFIX.size // 8,
            item.prefix_length,
            item.flags,
            item.valid_lifetime,
            item.preferred_lifetime,
            item.prefix.packed,
        )
        for item in advertisement.prefixes
    )


def _write_identifier(message: HomeAgentDiscoveryRequest | MobilePrefixSolicitation) -> bytes:
    return _IDENTIFIER.pack(message.identifier, 0)


_CODECS: Final[dict[int, tuple[Callable[[bytes], IcmpMessage], Callable[[Any], bytes]]]] = {
    IcmpType.PARAMETER_PROBLEM: (_read_problem, _write_problem),
    IcmpType.HOME_AGENT_DISCOVERY_REQUEST: (
        lambda octets: HomeAgentDiscoveryRequest(_read_identifier(octets)[0]),
        _write_identifier,
    ),
    IcmpType.HOME_AGENT_DISCOVERY_REPLY: (_read_reply, _write_reply),
    IcmpType.MOBILE_PREFIX_SOLICITATION: (
        lambda octets: MobilePrefixSolicitation(_read_identifier(octets)[0]),
        _write_identifier,
    ),
    IcmpType.MOBILE_PREFIX_ADVERTISEMENT: (_read_advertisement, _write_advertisement),
}


def encode_icmp(message: IcmpMessage, source: IPv6Address, destination: IPv6Address) -> bytes:
    """Make the ICMPv6 message with its checksum; ``source`` and ``destination`` are as in ``encode``.

    RFC 4443 section 2.

    Raises:
        WireError: a value does not fit its field.
    """
    _, write = _CODECS[message.type]
    try:
        octets = bytearray(_HEADER.pack(message.type, message.code, 0) + write(message))
    except struct.error as error:
        raise WireError(f"a value does not fit its field: {error}") from error
    octets[2:4] = checksum(source, destination, ICMPV6, octets).to_bytes(2, "big")
    return bytes(octets)


def decode_icmp(octets: bytes, source: IPv6Address, destination: IPv6Address, *, verify: bool = True) -> IcmpMessage:
    """Read an ICMPv6 message that fills ``octets``; addresses and ``verify`` as in ``decode``.

    Raises:
        ChecksumError: the checksum is wrong, or the message is shorter than 8 octets.
        UnknownTypeError: an ICMPv6 message that is none of this module's.
        WireError: an address or option is cut off or malformed.
    """
    if len(octets) < _FIELDS:
        raise ChecksumError("ICMPv6 message is cut off", offset=len(octets))
    if verify and checksum(source, destination, ICMPV6, octets):
        raise ChecksumError("checksum of the ICMPv6 message is wrong", offset=2)
    codec = _CODECS.get(octets[0])
    if codec is None:
        raise UnknownTypeError(f"ICMPv6 type {octets[0]} is unknown", type=octets[0], offset=0)
    read, _ = codec
    return read(octets)
