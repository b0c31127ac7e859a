"""Where a mobile node keeps its home address: away on the loopback and behind the tunnel, at home on its link."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

from testbed.mip6 import ndisc
from testbed.mip6.interface import Interface
from testbed.netlink import (
    AddressFlag,
    Netlink,
    NetlinkError,
    Route,
    RouteType,
    Rule,
    address_add,
    address_del,
    route_replace,
    rule_add,
    rule_del,
)

_LOOPBACK = 1
TABLE = 220  #: charon's: there it routes what goes into the tunnel
_PRIORITY = 1000
_LAST_METRIC = 0xFFFFFFFF


def go_away(home_address: IPv6Address, *, tunnel_interface: bool) -> None:
    """Put the home address on the loopback; with ``tunnel_interface`` route what is sent from it into the tunnel.

    Without the tunnel, packets from the home address then go nowhere, rather than out in clear.
    """
    with Netlink() as netlink:
        if tunnel_interface:
            nowhere = Route(table=TABLE, metric=_LAST_METRIC, type=RouteType.UNREACHABLE)
            netlink.apply(route_replace(nowhere), rule_add(_rule(home_address)))
        netlink.apply(address_add(_LOOPBACK, _host(home_address), flags=AddressFlag.NODAD, replace=True))


def give_up(home_address: IPv6Address, *, tunnel_interface: bool) -> None:
    """Undo ``go_away``."""
    with Netlink() as netlink:
        if tunnel_interface:
            netlink.apply(rule_del(_rule(home_address)))
        netlink.apply(address_del(_LOOPBACK, _host(home_address)))


def come_home(home_address: IPv6Address, prefix_length: int, interface: str, *, announce: bool = True) -> None:
    """Put the home address on the home link; the home agent defended it until now, so there is no DAD.

    With ``announce`` tell all neighbours, who took the home agent for it: not before the home agent let go of it.

    RFC 6275 section 11.5.5.
    """
    with Netlink() as netlink:
        device = netlink.link(interface).index
        home = IPv6Interface((home_address, prefix_length))
        netlink.apply(address_add(device, home, flags=AddressFlag.NODAD, replace=True))
    if announce:
        link = Interface.named(interface)
        message = ndisc.NeighborAdvertisement(home_address, override=True, target_mac=link.mac)
        packet = ndisc.encode_packet(message, home_address, ndisc.ALL_NODES)
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            sender.sendto(packet, (str(ndisc.ALL_NODES), 0, 0, link.index))


def leave_home(home_address: IPv6Address, prefix_length: int, interface: str) -> None:
    """Undo ``come_home``; an address that is gone already is left alone."""
    with Netlink() as netlink:
        device = netlink.link(interface).index
        try:
            netlink.apply(address_del(device, IPv6Interface((home_address, prefix_length))))
        except NetlinkError:
            return


def _host(address: IPv6Address) -> IPv6Interface:
    return IPv6Interface((address, 128))


def _rule(home_address: IPv6Address) -> Rule:
    return Rule(_PRIORITY, table=TABLE, source=IPv6Network(home_address))
