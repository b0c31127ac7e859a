"""Reading messages of the kernel into records; no I/O."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Final

from testbed.errors import WireError
from testbed.netlink.constants import (
    FIB_RULE_INVERT,
    NDUSEROPT_SRCADDR,
    Fra,
    Ifa,
    Iff,
    Ifla,
    IflaInfo,
    Nda,
    Ntf,
    Rta,
    Rtm,
)
from testbed.netlink.records import (
    INFINITE,
    Address,
    AddressFlag,
    Link,
    Neighbour,
    NeighbourState,
    OperState,
    Record,
    Resolvers,
    Route,
    RouteType,
    Rule,
    RuleAction,
)
from testbed.netlink.wire import (
    IFADDRMSG,
    IFINFOMSG,
    NDMSG,
    NDUSEROPTMSG,
    RTMSG,
    RTNEXTHOP,
    Message,
    aligned,
    get_text,
    get_u32,
    split_attributes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LIFETIMES: Final = struct.Struct("=II")
_RDNSS: Final = 25
_RDNSS_HEADER: Final = struct.Struct("!BBxxI")


def decode(message: Message) -> Iterator[Record]:
    """Yield the records of a message: none for another family or type, one for each next hop of a route.

    Raises:
        WireError: the message is cut short, or a value is none that the kernel's headers know.
    """
    decoder = _DECODERS.get(message.type)
    if decoder is None:
        return
    try:
        yield from decoder(message.body)
    except (struct.error, ValueError) as error:
        raise WireError(f"a malformed {Rtm(message.type).name} message: {error}") from error


def _decode_link(body: bytes) -> Iterator[Link]:
    family, _kind, index, flags, _change = IFINFOMSG.unpack_from(body)
    if family != socket.AF_UNSPEC:  # a bridge tells of its ports in messages of its own family
        return
    attributes = split_attributes(body, IFINFOMSG.size)
    info = split_attributes(attributes.get(Ifla.LINKINFO, b""))
    yield Link(
        index=index,
        name=get_text(attributes, Ifla.IFNAME),
        up=bool(flags & Iff.UP),
        carrier=bool(flags & Iff.LOWER_UP),
        oper_state=OperState(int.from_bytes(attributes.get(Ifla.OPERSTATE, b""))),
        mac=attributes.get(Ifla.ADDRESS, b"").hex(":"),
        mtu=get_u32(attributes, Ifla.MTU),
        master=get_u32(attributes, Ifla.MASTER),
        kind=get_text(info, IflaInfo.KIND),
    )


def _decode_address(body: bytes) -> Iterator[Address]:
    family, length, flags, _scope, device = IFADDRMSG.unpack_from(body)
    if family != socket.AF_INET6:
        return
    attributes = split_attributes(body, IFADDRMSG.size)
    own = attributes.get(Ifa.LOCAL, attributes.get(Ifa.ADDRESS, b""))  # ADDRESS is the peer's where LOCAL exists
    preferred, valid = _LIFETIMES.unpack_from(attributes.get(Ifa.CACHEINFO, b"\xff" * _LIFETIMES.size))
    all_flags = get_u32(attributes, Ifa.FLAGS) if Ifa.FLAGS in attributes else flags
    yield Address(device, IPv6Interface((own, length)), AddressFlag(all_flags), valid, preferred)


def _decode_route(body: bytes) -> Iterator[Route]:
    family, length, _src, _tos, table, origin, _scope, kind, _flags = RTMSG.unpack_from(body)
    if family != socket.AF_INET6:
        return
    attributes = split_attributes(body, RTMSG.size)
    route = Route(
        destination=_network(attributes, Rta.DST, length),
        via=_address(attributes, Rta.GATEWAY),
        device=get_u32(attributes, Rta.OIF),
        table=get_u32(attributes, Rta.TABLE) or table,
        metric=get_u32(attributes, Rta.PRIORITY),
        source=_address(attributes, Rta.PREFSRC),
        type=RouteType(kind),
        origin=origin,
    )
    hops = attributes.get(Rta.MULTIPATH)
    if hops is None:
        yield route
    else:
        yield from _decode_hops(route, hops)


def _decode_hops(route: Route, hops: bytes) -> Iterator[Route]:
    while hops:
        length, _flags, _weight, device = RTNEXTHOP.unpack_from(hops)
        if not RTNEXTHOP.size <= length <= len(hops):
            raise ValueError(f"a next hop of length {length}")
        attributes = split_attributes(hops[:length], RTNEXTHOP.size)
        yield replace(route, device=device, via=_address(attributes, Rta.GATEWAY))
        hops = hops[aligned(length) :]


def _decode_rule(body: bytes) -> Iterator[Rule]:
    family, dst_length, src_length, _tos, table, _r1, _r2, action, flags = RTMSG.unpack_from(body)
    if family != socket.AF_INET6:
        return
    attributes = split_attributes(body, RTMSG.size)
    mask = get_u32(attributes, Fra.FWMASK)
    yield Rule(
        priority=get_u32(attributes, Fra.PRIORITY),
        table=get_u32(attributes, Fra.TABLE) or table,
        source=_network(attributes, Fra.SRC, src_length),
        destination=_network(attributes, Fra.DST, dst_length),
        iif=get_text(attributes, Fra.IIFNAME),
        mark=get_u32(attributes, Fra.FWMARK),
        mark_mask=0 if mask == INFINITE else mask,
        protocol=int.from_bytes(attributes.get(Fra.IP_PROTO, b"")),
        inverted=bool(flags & FIB_RULE_INVERT),
        action=RuleAction(action),
    )


def _decode_neighbour(body: bytes) -> Iterator[Neighbour]:
    family, device, state, flags, _kind = NDMSG.unpack_from(body)
    if family != socket.AF_INET6:
        return
    attributes = split_attributes(body, NDMSG.size)
    yield Neighbour(
        device=device,
        address=IPv6Address(attributes.get(Nda.DST, b"")),
        mac=attributes.get(Nda.LLADDR, b"").hex(":"),
        state=NeighbourState(state),
        router=bool(flags & Ntf.ROUTER),
        proxy=bool(flags & Ntf.PROXY),
    )


def _decode_resolvers(body: bytes) -> Iterator[Resolvers]:
    family, options_length, device, _type, _code = NDUSEROPTMSG.unpack_from(body)
    if family != socket.AF_INET6:
        return
    options = body[NDUSEROPTMSG.size : NDUSEROPTMSG.size + options_length]
    attributes = split_attributes(body, NDUSEROPTMSG.size + aligned(options_length))
    router = _address(attributes, NDUSEROPT_SRCADDR)
    while options:
        kind, eighths, lifetime = _RDNSS_HEADER.unpack_from(options)
        if not 0 < eighths * 8 <= len(options):
            raise ValueError(f"an option of {eighths * 8} octets")
        if kind == _RDNSS:
            servers = options[_RDNSS_HEADER.size : eighths * 8]
            addresses = (IPv6Address(servers[at : at + 16]) for at in range(0, len(servers), 16))
            yield Resolvers(device, router, lifetime, tuple(addresses))
        options = options[eighths * 8 :]


_DECODERS: Final[Mapping[int, Callable[[bytes], Iterator[Record]]]] = {
    Rtm.NEWLINK: _decode_link,
    Rtm.DELLINK: _decode_link,
    Rtm.NEWADDR: _decode_address,
    Rtm.DELADDR: _decode_address,
    Rtm.NEWROUTE: _decode_route,
    Rtm.DELROUTE: _decode_route,
    Rtm.NEWRULE: _decode_rule,
    Rtm.DELRULE: _decode_rule,
    Rtm.NEWNEIGH: _decode_neighbour,
    Rtm.DELNEIGH: _decode_neighbour,
    Rtm.NEWNDUSEROPT: _decode_resolvers,
}


def _address(attributes: Mapping[int, bytes], kind: int) -> IPv6Address | None:
    octets = attributes.get(kind)
    return None if octets is None else IPv6Address(octets)


def _network(attributes: Mapping[int, bytes], kind: int, length: int) -> IPv6Network:
    return IPv6Network((attributes.get(kind, bytes(16)), length))
