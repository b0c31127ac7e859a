"""Requests to change links, addresses, routes, rules and neighbours.

Each function does no I/O and returns a ``Request`` for ``Netlink.apply``; a list of them is a batch.
``device`` is the index of a link.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from testbed.netlink.constants import (
    FIB_RULE_INVERT,
    VETH_INFO_PEER,
    Flag,
    Fra,
    Ifa,
    Iff,
    Ifla,
    IflaBr,
    IflaInfo,
    Lwtunnel,
    Nda,
    Ntf,
    Rta,
    Rtm,
    Seg6,
)
from testbed.netlink.records import (
    DEFAULT,
    INFINITE,
    Decapsulate,
    Encapsulate,
    Neighbour,
    NeighbourState,
    Route,
    RouteOrigin,
    RouteType,
    Rule,
    RuleAction,
    Table,
)
from testbed.netlink.wire import (
    IFADDRMSG,
    IFINFOMSG,
    NDMSG,
    RTMSG,
    NetlinkError,
    attribute,
    text,
    u32,
)

if TYPE_CHECKING:
    from ipaddress import IPv6Interface, IPv6Network

    from testbed.netlink.namespace import Namespace

_MAC_LENGTH = 6
# mode, then next header, length in units of 8 octets, routing type, segments left, last entry, flags, tag, one segment
_SEGMENT_ROUTING: Final = struct.Struct("=iBBBBBBH16s")  # RFC 8754 section 2
_NEW: Final = Flag.CREATE | Flag.EXCLUSIVE
_NEW_OR_CHANGED: Final = Flag.CREATE | Flag.REPLACE


@dataclass(frozen=True, slots=True)
class Request:
    """A change to ask the kernel for; ``words`` name it when it fails, with {} for the link ``device``."""

    type: Rtm
    flags: int
    body: bytes
    words: str
    device: int | str = 0


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair.

    The two indexes of a pair must differ, or its carrier comes up to a second late: linkwatch in the kernel
    takes a link whose partner has its own index for a plain device, and those are rate limited.
    """

    name: str
    index: int
    mac: str


def link_add_bridge(name: str, index: int, *, group_fwd_mask: int = 0) -> Request:
    """Make a bridge without spanning tree and without multicast snooping, not yet up.

    ``group_fwd_mask`` has bit n set for frames to 01:80:c2:00:00:0n to be forwarded (IEEE 802.1D reserves
    them); 8 lets EAPOL pass.
    """
    data = (
        u32(IflaBr.STP_STATE, 0)
        + attribute(IflaBr.GROUP_FWD_MASK, struct.pack("=H", group_fwd_mask))
        + attribute(IflaBr.MCAST_SNOOPING, b"\0")
    )
    body = _link_header(index) + text(Ifla.IFNAME, name) + _link_info("bridge", data)
    return Request(Rtm.NEWLINK, _NEW, body, f"add bridge {name}")


def link_add_veth(
    end: VethEnd,
    peer: VethEnd,
    *,
    peer_namespace: Namespace | None = None,
    mtu: int = 0,
    master: int = 0,
    up: bool = False,
) -> Request:
    """Make a veth pair: ``end`` in the namespace of the socket, ``peer`` in ``peer_namespace`` or beside it.

    ``master`` and ``up`` concern ``end`` only. The peer must be set up afterwards: the kernel refuses to make
    it up in the same request with ENOTCONN, as its partner does not exist yet. ``mtu`` is in octets, 0 for
    the kernel's 1500. An open file as ``peer_namespace`` has to stay open until the request was sent.

    Raises:
        NetlinkError: EINVAL, the two indexes are equal or a MAC address is malformed.
    """
    if end.index == peer.index:
        raise NetlinkError(f"add veth {end.name}: both ends have index {end.index}", errno.EINVAL)
    size = u32(Ifla.MTU, mtu) if mtu else b""
    other = _link_header(peer.index) + _identity(peer) + size + _in_namespace(peer_namespace)
    body = (
        _link_header(end.index, up=True if up else None)
        + _identity(end)
        + size
        + (u32(Ifla.MASTER, master) if master else b"")
        + _link_info("veth", attribute(VETH_INFO_PEER, other))
    )
    return Request(Rtm.NEWLINK, _NEW, body, f"add veth {end.name} with peer {peer.name}")


def link_set(
    link: int | str,
    *,
    up: bool | None = None,
    master: int | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    namespace: Namespace | None = None,
) -> Request:
    """Change what is given of a link: up or down, its bridge (0 for none), MTU, MAC address, namespace.

    The kernel sets a link down that moves to another namespace, and takes its addresses.

    Raises:
        NetlinkError: EINVAL, the MAC address is malformed.
    """
    state = None if up is None else "up" if up else "down"
    changes = {"state": state, "master": master, "mtu": mtu, "mac": mac, "namespace": namespace}
    words = ", ".join(f"{name} {value}" for name, value in changes.items() if value is not None)
    body = (
        _link_named(link, up=up)
        + (b"" if master is None else u32(Ifla.MASTER, master))
        + (b"" if mtu is None else u32(Ifla.MTU, mtu))
        + (b"" if mac is None else attribute(Ifla.ADDRESS, _mac_octets(mac)))
        + _in_namespace(namespace)
    )
    return Request(Rtm.SETLINK, 0, body, f"set link {{}} to {words}", link)


def link_del(link: int | str) -> Request:
    """Delete a link, and with one end of a veth pair the other; costs the kernel up to 20 ms each."""
    return Request(Rtm.DELLINK, 0, _link_named(link), "delete link {}", link)


def address_add(
    device: int,
    interface: IPv6Interface,
    *,
    flags: int = 0,
    valid: int = INFINITE,
    preferred: int = INFINITE,
    replace: bool = False,
) -> Request:
    """Give a link an address with its prefix length; lifetimes in seconds.

    ``flags`` can be NODAD, OPTIMISTIC, NO_PREFIX_ROUTE, MANAGE_TEMPORARY of ``AddressFlag``, and HOME,
    without which the kernel drops what comes with a type 2 routing header (RFC 6275 section 6.4). ``replace``
    changes the lifetimes of an address that is there already.
    """
    lifetimes = struct.pack("=IIII", preferred, valid, 0, 0)
    body = _address_body(device, interface) + attribute(Ifa.CACHEINFO, lifetimes) + u32(Ifa.FLAGS, flags)
    mode = _NEW_OR_CHANGED if replace else _NEW
    return Request(Rtm.NEWADDR, mode, body, f"{'replace' if replace else 'add'} address {interface} on {{}}", device)


def address_del(device: int, interface: IPv6Interface) -> Request:
    """Take an address from a link; EADDRNOTAVAIL if it is not there."""
    return Request(Rtm.DELADDR, 0, _address_body(device, interface), f"delete address {interface} on {{}}", device)


def route_add(route: Route) -> Request:
    """Add a route; EEXIST if there is one with this destination, table and metric."""
    return Request(Rtm.NEWROUTE, _NEW, _route_body(route), f"add {_route_words(route)}", route.device)


def route_replace(route: Route) -> Request:
    """Add a route, or put it in the place of the one with this destination, table and metric."""
    body = _route_body(route)
    return Request(Rtm.NEWROUTE, _NEW_OR_CHANGED, body, f"replace {_route_words(route)}", route.device)


def route_del(route: Route) -> Request:
    """Delete the first route that matches, whoever made it; ESRCH if there is none.

    ``via`` None, ``device`` 0 and ``metric`` 0 match any; ``type``, ``source`` and ``origin`` are not
    compared.
    """
    anyone = Route(route.destination, route.via, route.device, route.table, route.metric)
    body = _route_body(anyone, RouteOrigin.UNSPECIFIED)
    return Request(Rtm.DELROUTE, 0, body, f"delete {_route_words(route)}", route.device)


def rule_add(rule: Rule) -> Request:
    """Add a policy rule; EEXIST if there is the same one with the same priority."""
    return Request(Rtm.NEWRULE, _NEW, _rule_body(rule), f"add {_rule_words(rule)}")


def rule_del(rule: Rule) -> Request:
    """Delete the policy rule that has this priority and these selectors; ENOENT if there is none."""
    return Request(Rtm.DELRULE, 0, _rule_body(rule), f"delete {_rule_words(rule)}")


def neighbour_add(neighbour: Neighbour) -> Request:
    """Add a neighbour or a proxy; EEXIST for a neighbour that is there already (not for a proxy).

    Raises:
        NetlinkError: EINVAL, the MAC address is malformed.
    """
    words = f"add {_neighbour_words(neighbour)}"
    return Request(Rtm.NEWNEIGH, _NEW, _neighbour_body(neighbour), words, neighbour.device)


def neighbour_del(neighbour: Neighbour) -> Request:
    """Delete a neighbour or a proxy by its device and address; ENOENT if there is none."""
    bare = Neighbour(neighbour.device, neighbour.address, proxy=neighbour.proxy)
    words = f"delete {_neighbour_words(neighbour)}"
    return Request(Rtm.DELNEIGH, 0, _neighbour_body(bare), words, neighbour.device)


def _link_header(index: int, *, up: bool | None = None) -> bytes:
    change = 0 if up is None else Iff.UP
    return IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, Iff.UP if up else 0, change)


def _link_named(link: int | str, *, up: bool | None = None) -> bytes:
    if isinstance(link, str):
        return _link_header(0, up=up) + text(Ifla.IFNAME, link)
    return _link_header(link, up=up)


def _link_info(kind: str, data: bytes) -> bytes:
    return attribute(Ifla.LINKINFO, text(IflaInfo.KIND, kind) + attribute(IflaInfo.DATA, data))


def _identity(end: VethEnd) -> bytes:
    return text(Ifla.IFNAME, end.name) + attribute(Ifla.ADDRESS, _mac_octets(end.mac))


def _in_namespace(namespace: Namespace | None) -> bytes:
    if namespace is None:
        return b""
    if isinstance(namespace, int):
        return u32(Ifla.NET_NS_PID, namespace)
    return u32(Ifla.NET_NS_FD, namespace.fileno())


def _mac_octets(mac: str) -> bytes:
    try:
        octets = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != _MAC_LENGTH:
        raise NetlinkError(f"{mac!r} is no MAC address of six octets", errno.EINVAL)
    return octets


def _address_body(device: int, interface: IPv6Interface) -> bytes:
    octets = interface.ip.packed
    header = IFADDRMSG.pack(socket.AF_INET6, interface.network.prefixlen, 0, 0, device)
    return header + attribute(Ifa.LOCAL, octets) + attribute(Ifa.ADDRESS, octets)


def _selector(kind: int, network: IPv6Network) -> bytes:
    return attribute(kind, network.network_address.packed) if network.prefixlen else b""


def _route_body(route: Route, origin: int | None = None) -> bytes:
    """Encode struct rtmsg and its attributes; the table as an attribute, as the header has 8 bits for it."""
    made_by = route.origin if origin is None else origin
    length = route.destination.prefixlen
    header = RTMSG.pack(socket.AF_INET6, length, 0, 0, Table.UNSPECIFIED, made_by, 0, route.type, 0)
    return (
        header
        + u32(Rta.TABLE, route.table)
        + _selector(Rta.DST, route.destination)
        + (attribute(Rta.GATEWAY, route.via.packed) if route.via else b"")
        + (u32(Rta.OIF, route.device) if route.device else b"")
        + (u32(Rta.PRIORITY, route.metric) if route.metric else b"")
        + (attribute(Rta.PREFSRC, route.source.packed) if route.source else b"")
        + _tunnel(route.tunnel)
    )


def _tunnel(tunnel: Encapsulate | Decapsulate | None) -> bytes:
    """Encode struct seg6_iptunnel_encap with its routing header, or the attributes of an action of seg6local."""
    match tunnel:
        case Encapsulate(peer=peer):
            header = _SEGMENT_ROUTING.pack(Seg6.IPTUNNEL_MODE_ENCAP_RED, 0, 2, 4, 0, 0, 0, 0, peer.packed)
            kind, octets = Lwtunnel.SEG6, attribute(Seg6.IPTUNNEL_SRH, header)
        case Decapsulate(table=table):
            kind = Lwtunnel.SEG6_LOCAL
            octets = u32(Seg6.LOCAL_ACTION, Seg6.LOCAL_ACTION_END_DT6) + u32(Seg6.LOCAL_TABLE, table)
        case _:
            return b""
    return attribute(Rta.ENCAP_TYPE, struct.pack("=H", kind)) + attribute(Rta.ENCAP, octets)


def _route_words(route: Route) -> str:
    kind = "route" if route.type is RouteType.UNICAST else f"{route.type.name.lower()} route"
    destination = "default" if route.destination == DEFAULT else route.destination
    via = f" via {route.via}" if route.via else ""
    table = "" if route.table == Table.MAIN else f" in table {route.table}"
    device = " on {}" if route.device else ""
    match route.tunnel:
        case Encapsulate(peer=peer):
            tunnel = f" in a tunnel to {peer}"
        case Decapsulate():
            tunnel = " out of a tunnel"
        case _:
            tunnel = ""
    return f"{kind} {destination}{via}{table}{device}{tunnel}"


def _rule_body(rule: Rule) -> bytes:
    lengths = rule.destination.prefixlen, rule.source.prefixlen
    inverted = FIB_RULE_INVERT if rule.inverted else 0
    return (
        RTMSG.pack(socket.AF_INET6, *lengths, 0, Table.UNSPECIFIED, 0, 0, rule.action, inverted)
        + u32(Fra.PRIORITY, rule.priority)
        + (u32(Fra.TABLE, rule.table) if rule.table else b"")
        + _selector(Fra.SRC, rule.source)
        + _selector(Fra.DST, rule.destination)
        + (text(Fra.IIFNAME, rule.iif) if rule.iif else b"")
        + (u32(Fra.FWMARK, rule.mark) if rule.mark or rule.mark_mask else b"")
        + (u32(Fra.FWMASK, rule.mark_mask) if rule.mark_mask else b"")
        + (attribute(Fra.IP_PROTO, bytes([rule.protocol])) if rule.protocol else b"")
    )


def _rule_words(rule: Rule) -> str:
    inverted = "not " if rule.inverted else ""
    source = "" if rule.source == DEFAULT else f" from {rule.source}"
    destination = "" if rule.destination == DEFAULT else f" to {rule.destination}"
    iif = f" iif {rule.iif}" if rule.iif else ""
    mark = f" mark {rule.mark:#x}" if rule.mark else ""
    action = f"table {rule.table}" if rule.action is RuleAction.LOOKUP else rule.action.name.lower()
    return f"rule {rule.priority} {inverted}{source}{destination}{iif}{mark} {action}".replace("  ", " ")


def _neighbour_body(neighbour: Neighbour) -> bytes:
    flags = (Ntf.PROXY if neighbour.proxy else 0) | (Ntf.ROUTER if neighbour.router else 0)
    state = NeighbourState(0) if neighbour.proxy else neighbour.state
    return (
        NDMSG.pack(socket.AF_INET6, neighbour.device, state, flags, 0)
        + attribute(Nda.DST, neighbour.address.packed)
        + (attribute(Nda.LLADDR, _mac_octets(neighbour.mac)) if neighbour.mac else b"")
    )


def _neighbour_words(neighbour: Neighbour) -> str:
    return f"{'proxy' if neighbour.proxy else 'neighbour'} {neighbour.address} on {{}}"
