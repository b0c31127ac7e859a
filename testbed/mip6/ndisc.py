"""Neighbor Discovery messages: octets to values and back, without any I/O.

Link-layer addresses are the 6 octets of Ethernet. An option that is unknown, or whose contents its RFC does
not allow, is skipped; the message around it stands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from testbed.errors import WireError
from testbed.mip6.names import decode_names, encode_name
from testbed.mip6.wire.checksum import checksum

ALL_NODES = IPv6Address("ff02::1")
ALL_ROUTERS = IPv6Address("ff02::2")
UNSPECIFIED = IPv6Address("::")
ICMPV6 = 58
HOP_LIMIT = 255

# RFC 4861 section 10
MAX_RTR_SOLICITATIONS = 3
RTR_SOLICITATION_INTERVAL = 4.0
MAX_RTR_SOLICITATION_DELAY = 1.0
MAX_NEIGHBOR_ADVERTISEMENT = 3
RETRANS_TIMER = 1.0

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT = 133, 134, 135, 136

_SLLA, _TLLA, _PREFIX, _MTU, _INTERVAL, _HOME_AGENT, _RDNSS, _DNSSL = 1, 2, 3, 5, 7, 8, 25, 31
_MANAGED, _OTHER, _HOME = 0x80, 0x40, 0x20
_ON_LINK, _AUTONOMOUS, _ROUTER_ADDRESS = 0x80, 0x40, 0x20
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_FIXED = {
    ROUTER_SOLICITATION: 8,
    ROUTER_ADVERTISEMENT: 16,
    NEIGHBOR_SOLICITATION: 24,
    NEIGHBOR_ADVERTISEMENT: 24,
}
_VERSION = 6
_SOLICITED_NODE = 0xFF0200000000000000000001FF000000
_MAC, _WORD, _PAIR = struct.Struct("!2x6s"), struct.Struct("!4xI"), struct.Struct("!4xHH")
_PIO = struct.Struct("!2xBBII4x16s")
_IPV6 = struct.Struct("!IHBB16s16s")


@dataclass(frozen=True, slots=True)
class PrefixInformation:
    """A prefix with the full address it came with; lifetimes in seconds (RFC 4861 4.6.2, RFC 6275 7.2).

    With ``router_address`` the address is one of the router's own, all 128 bits of it.
    """

    address: IPv6Address
    length: int
    valid: int
    preferred: int
    on_link: bool = True
    autonomous: bool = True
    router_address: bool = False

    @property
    def network(self) -> IPv6Network:
        """Give the prefix alone, the bits behind it cleared."""
        return IPv6Network((self.address, self.length), strict=False)


@dataclass(frozen=True, slots=True)
class RecursiveDns:
    """DNS servers, usable for ``lifetime`` seconds (RFC 8106 section 5.1)."""

    lifetime: int
    servers: tuple[IPv6Address, ...]


@dataclass(frozen=True, slots=True)
class DnsSearch:
    """DNS search domains, usable for ``lifetime`` seconds (RFC 8106 section 5.2)."""

    lifetime: int
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HomeAgentInformation:
    """What a home agent says of itself: the higher preference first, lifetime in seconds (RFC 6275 7.4)."""

    preference: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class RouterSolicitation:
    """A host asks for routers (RFC 4861 section 4.1)."""

    source_mac: bytes | None = None


@dataclass(frozen=True, slots=True)
class RouterAdvertisement:
    """A router speaks of itself and its link (RFC 4861 section 4.2, H flag: RFC 6275 section 7.1).

    ``lifetime`` is in seconds, ``reachable_time``, ``retrans_timer`` and ``interval`` in milliseconds; 0 in
    ``hop_limit``, ``reachable_time`` and ``retrans_timer`` means unspecified.
    """

    hop_limit: int = 64
    managed: bool = False
    other: bool = False
    home_agent: bool = False
    lifetime: int = 0
    reachable_time: int = 0
    retrans_timer: int = 0
    source_mac: bytes | None = None
    mtu: int | None = None
    prefixes: tuple[PrefixInformation, ...] = ()
    rdnss: tuple[RecursiveDns, ...] = ()
    dnssl: tuple[DnsSearch, ...] = ()
    interval: int | None = None
    home_agent_information: HomeAgentInformation | None = None


@dataclass(frozen=True, slots=True)
class NeighborSolicitation:
    """A node asks for the link-layer address of a target, or whether it is taken (RFC 4861 section 4.3)."""

    target: IPv6Address
    source_mac: bytes | None = None


@dataclass(frozen=True, slots=True)
class NeighborAdvertisement:
    """A node gives the link-layer address of a target (RFC 4861 section 4.4)."""

    target: IPv6Address
    router: bool = False
    solicited: bool = False
    override: bool = False
    target_mac: bytes | None = None


Message = RouterSolicitation | RouterAdvertisement | NeighborSolicitation | NeighborAdvertisement


def solicited_node(address: IPv6Address) -> IPv6Address:
    """Give the solicited-node multicast group of an address (RFC 4291 section 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE | int(address) & 0xFFFFFF)


def multicast_mac(group: IPv6Address) -> bytes:
    """Give the Ethernet address, 6 octets, that a multicast group is sent to (RFC 2464 section 7)."""
    return b"\x33\x33" + group.packed[-4:]


def encode(message: Message, source: IPv6Address, destination: IPv6Address) -> bytes:
    """Give the ICMPv6 message with its checksum.

    Raises:
        WireError: a search domain is no domain name.

    Source: RFC 4861 section 4.
    """
    match message:
        case RouterSolicitation():
            kind, body = ROUTER_SOLICITATION, bytes(4) + _link_layer(_SLLA, message.source_mac)
        case RouterAdvertisement():
            kind, body = ROUTER_ADVERTISEMENT, _encode_router_advertisement(message)
        case NeighborSolicitation():
            kind = NEIGHBOR_SOLICITATION
            body = bytes(4) + message.target.packed + _link_layer(_SLLA, message.source_mac)
        case NeighborAdvertisement():
            kind = NEIGHBOR_ADVERTISEMENT
            flags = _ROUTER * message.router | _SOLICITED * message.solicited | _OVERRIDE * message.override
            body = bytes((flags, 0, 0, 0)) + message.target.packed + _link_layer(_TLLA, message.target_mac)
    total = checksum(source, destination, ICMPV6, struct.pack("!BBH", kind, 0, 0) + body)
    return struct.pack("!BBH", kind, 0, total) + body


def encode_packet(message: Message, source: IPv6Address, destination: IPv6Address) -> bytes:
    """Give the whole IPv6 packet, hop limit 255 (RFC 4861 section 4)."""
    octets = encode(message, source, destination)
    header = _IPV6.pack(_VERSION << 28, len(octets), ICMPV6, HOP_LIMIT, source.packed, destination.packed)
    return header + octets


def decode_packet(packet: bytes) -> tuple[IPv6Address, IPv6Address, Message]:
    """Take an IPv6 packet apart: source, destination and message; octets behind the payload are padding.

    Raises:
        WireError: no IPv6 packet that starts with ICMPv6, or as for ``decode``.

    Source: RFC 8200 section 3.
    """
    if len(packet) < _IPV6.size:
        raise WireError("shorter than an IPv6 header", offset=len(packet))
    word, length, header, hop_limit, source, destination = _IPV6.unpack_from(packet)
    if word >> 28 != _VERSION or header != ICMPV6 or len(packet) < _IPV6.size + length:
        raise WireError("no whole IPv6 packet with ICMPv6 in it")
    ends = IPv6Address(source), IPv6Address(destination)
    return *ends, decode(packet[_IPV6.size : _IPV6.size + length], *ends, hop_limit)


def decode(octets: bytes, source: IPv6Address, destination: IPv6Address, hop_limit: int) -> Message:
    """Take an ICMPv6 message of Neighbor Discovery apart.

    Raises:
        WireError: it is another ICMPv6 type, or one of the validity checks fails.

    Source: RFC 4861 sections 6.1.1, 6.1.2, 7.1.1, 7.1.2.
    """
    kind = octets[0] if octets else -1
    if kind not in _FIXED:
        raise WireError(f"ICMPv6 type {kind} is no Neighbor Discovery message")
    if hop_limit != HOP_LIMIT:
        raise WireError(f"hop limit {hop_limit}, 255 is required")
    if len(octets) < _FIXED[kind]:
        raise WireError(f"{len(octets)} octets are too few for type {kind}", offset=len(octets))
    if octets[1] != 0:
        raise WireError(f"code {octets[1]}, 0 is required", offset=1)
    if checksum(source, destination, ICMPV6, octets) != 0:
        raise WireError("wrong checksum", offset=2)
    options = _options(octets, _FIXED[kind])
    if kind == ROUTER_SOLICITATION:
        return RouterSolicitation(_asker_mac(options, source))
    if kind == ROUTER_ADVERTISEMENT:
        return _decode_router_advertisement(octets, options, source)
    if kind == NEIGHBOR_SOLICITATION:
        return _decode_neighbor_solicitation(octets, options, source, destination)
    return _decode_neighbor_advertisement(octets, options, destination)


def _asker_mac(options: list[tuple[int, bytes]], source: IPv6Address) -> bytes | None:
    if source == UNSPECIFIED and any(code == _SLLA for code, _ in options):
        raise WireError("a source link-layer address from the unspecified address")
    return _mac(options, _SLLA)


def _target(octets: bytes) -> IPv6Address:
    target = IPv6Address(octets[8:24])
    if target.is_multicast:
        raise WireError(f"target {target} is a multicast address", offset=8)
    return target


def _decode_neighbor_solicitation(
    octets: bytes, options: list[tuple[int, bytes]], source: IPv6Address, destination: IPv6Address
) -> NeighborSolicitation:
    target = _target(octets)
    if source == UNSPECIFIED and destination != solicited_node(target):
        raise WireError(f"a probe for {target} sent to {destination}, not to its solicited-node group")
    return NeighborSolicitation(target, _asker_mac(options, source))


def _decode_neighbor_advertisement(
    octets: bytes, options: list[tuple[int, bytes]], destination: IPv6Address
) -> NeighborAdvertisement:
    flags = octets[4]
    solicited = bool(flags & _SOLICITED)
    if solicited and destination.is_multicast:
        raise WireError("an advertisement to a multicast address with the S flag", offset=4)
    override = bool(flags & _OVERRIDE)
    return NeighborAdvertisement(_target(octets), bool(flags & _ROUTER), solicited, override, _mac(options, _TLLA))


def _encode_router_advertisement(message: RouterAdvertisement) -> bytes:
    flags = _MANAGED * message.managed | _OTHER * message.other | _HOME * message.home_agent
    times = message.reachable_time, message.retrans_timer
    parts = [struct.pack("!BBHII", message.hop_limit, flags, message.lifetime, *times)]
    parts.append(_link_layer(_SLLA, message.source_mac))
    if message.mtu is not None:
        parts.append(_option(_MTU, _WORD.pack(message.mtu)))
    parts += (_option(_PREFIX, _encode_prefix(prefix)) for prefix in message.prefixes)
    for dns in message.rdnss:
        parts.append(_option(_RDNSS, _WORD.pack(dns.lifetime) + b"".join(a.packed for a in dns.servers)))
    for search in message.dnssl:
        names = b"".join(map(encode_name, search.domains))
        parts.append(_option(_DNSSL, _WORD.pack(search.lifetime) + names))
    if message.interval is not None:
        parts.append(_option(_INTERVAL, _WORD.pack(message.interval)))
    if message.home_agent_information is not None:
        information = message.home_agent_information
        parts.append(_option(_HOME_AGENT, _PAIR.pack(information.preference, information.lifetime)))
    return b"".join(parts)


def _encode_prefix(prefix: PrefixInformation) -> bytes:
    flags = _ON_LINK * prefix.on_link | _AUTONOMOUS * prefix.autonomous | _ROUTER_ADDRESS * prefix.router_address
    return _PIO.pack(prefix.length, flags, prefix.valid, prefix.preferred, prefix.address.packed)


def _decode_router_advertisement(
    octets: bytes, options: list[tuple[int, bytes]], source: IPv6Address
) -> RouterAdvertisement:
    if not source.is_link_local:
        raise WireError(f"a Router Advertisement from {source}, not a link-local address")
    hop_limit, flags, lifetime, reachable, retrans = struct.unpack_from("!BBHII", octets, 4)
    mtu = [_WORD.unpack(o)[0] for code, o in options if code == _MTU and len(o) == _WORD.size]
    interval = [_WORD.unpack(o)[0] for code, o in options if code == _INTERVAL and len(o) == _WORD.size]
    home = [_PAIR.unpack(o) for code, o in options if code == _HOME_AGENT and len(o) == _PAIR.size]
    return RouterAdvertisement(
        hop_limit=hop_limit,
        managed=bool(flags & _MANAGED),
        other=bool(flags & _OTHER),
        home_agent=bool(flags & _HOME),
        lifetime=lifetime,
        reachable_time=reachable,
        retrans_timer=retrans,
        source_mac=_mac(options, _SLLA),
        mtu=mtu[0] if mtu else None,
        prefixes=tuple(p for code, o in options if code == _PREFIX for p in _decode_prefix(o)),
        rdnss=tuple(r for code, o in options if code == _RDNSS for r in _decode_rdnss(o)),
        dnssl=tuple(d for code, o in options if code == _DNSSL for d in _decode_dnssl(o)),
        interval=interval[0] if interval else None,
        home_agent_information=HomeAgentInformation(*home[0]) if home else None,
    )


def _decode_prefix(option: bytes) -> tuple[PrefixInformation, ...]:
    if len(option) != _PIO.size:
        return ()
    length, flags, valid, preferred, address = _PIO.unpack(option)
    if length > 128 or preferred > valid:  # noqa: PLR2004 - RFC 4861 4.6.2 and RFC 4862 5.5.3 c
        return ()
    bits = bool(flags & _ON_LINK), bool(flags & _AUTONOMOUS), bool(flags & _ROUTER_ADDRESS)
    return (PrefixInformation(IPv6Address(address), length, valid, preferred, *bits),)


def _decode_rdnss(option: bytes) -> tuple[RecursiveDns, ...]:
    servers = option[_WORD.size :]
    if not servers or len(servers) % 16:
        return ()
    addresses = tuple(IPv6Address(servers[at : at + 16]) for at in range(0, len(servers), 16))
    return (RecursiveDns(_WORD.unpack_from(option)[0], addresses),)


def _decode_dnssl(option: bytes) -> tuple[DnsSearch, ...]:
    try:
        domains = decode_names(option[_WORD.size :], padded=True)
    except WireError:
        return ()
    return (DnsSearch(_WORD.unpack_from(option)[0], domains),) if domains else ()


def _options(octets: bytes, start: int) -> list[tuple[int, bytes]]:
    """Give type and octets of every option, its first two octets included."""
    options: list[tuple[int, bytes]] = []
    at = start
    while at < len(octets):
        length = octets[at + 1] * 8 if at + 1 < len(octets) else 0
        if length == 0 or at + length > len(octets):
            raise WireError(f"an option of {length} octets where {len(octets) - at} are left", offset=at)
        options.append((octets[at], octets[at : at + length]))
        at += length
    return options


def _option(code: int, body: bytes) -> bytes:
    """Put the type and the length into the two octets that ``body`` left free, and pad to 8 octets."""
    padded = body + bytes(-len(body) % 8)
    return bytes((code, len(padded) // 8)) + padded[2:]


def _link_layer(code: int, mac: bytes | None) -> bytes:
    return b"" if mac is None else _option(code, _MAC.pack(mac))


def _mac(options: list[tuple[int, bytes]], code: int) -> bytes | None:
    for found, option in options:
        if found == code and len(option) == _MAC.size:
            return bytes(_MAC.unpack(option)[0])
    return None
