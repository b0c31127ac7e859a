"""The way of the data where there is no IPsec: IPv6 in IPv6 (RFC 2473, RFC 6275 sections 10.4.2, 10.4.5 and 11.3.1).

The kernel does it by routes: one puts packets into an IPv6 packet to the other end, one takes out of theirs what comes
with next header 41. Both need no module, no device for each mobile node and no routing header on the wire.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from testbed.mip6 import home_route
from testbed.netlink import (
    DEFAULT,
    Decapsulate,
    Encapsulate,
    Neighbour,
    Netlink,
    Route,
    RouteType,
    Rule,
    Table,
    VethEnd,
    link_add_veth,
    link_set,
    neighbour_add,
    route_del,
    route_replace,
    rule_add,
    rule_del,
    set_tunnel_source,
    write_sysctl,
)
from testbed.process import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testbed.netlink import Link, Request

_IPV6 = 41  # next header of an IPv6 packet inside: RFC 2473 section 3
_ENDS = 41  # table with the addresses where tunnels end
_LOOPBACK = 1
_AWAY = 42  # table with the tunnels to mobile nodes
_BEFORE_LOCAL, _LOCAL, _AFTER_LOCAL = 1, 2, 3  # priorities: what is to be taken out must not be delivered as it is
_HEADER = 40  # octets of the outer packet
# the link that packets cross before they go into a tunnel; no network of a topology has a name with an underscore
_NEAR, _FAR = VethEnd("mip6_away", 100, "02:00:00:00:ff:01"), VethEnd("mip6_in", 101, "02:00:00:00:ff:02")
_THROUGH = IPv6Address("fe80::2")
_REVERSE = "ip6 mip6_guard reverse"
_AGENTS = "ip6 mip6_guard agents"


class HomePath:
    """A home agent's ends of the tunnels to mobile nodes.

    Args:
        address: the home agent's, where all its tunnels end.
        own: all addresses of its node, for what comes out of a tunnel may be meant for itself.
        link: the interface on the home link.
    """

    def __init__(self, address: IPv6Address, own: Iterable[IPv6Address], link: str) -> None:
        self._address = address
        self._own = tuple(own)
        self._link = link
        self._device = 0

    def prepare(self) -> None:
        """Take packets out of tunnels, which, the guard decides; make the link that leads into them."""
        with Netlink() as netlink:
            home = netlink.link(self._link)
            self._device = home.index
            own = (Route(IPv6Network(a), device=_LOOPBACK, type=RouteType.LOCAL) for a in self._own)
            netlink.apply(*map(route_replace, own), route_replace(_end(self._address, Table.MAIN, self._device)))
            _prepare(netlink, home, rule_add(_into()))
        set_tunnel_source(self._address)

    async def admit(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Tunnel to the care-of address, accept from there what the home address sends (RFC 6275 section 10.4.5)."""
        with Netlink() as netlink:
            netlink.apply(route_replace(self._tunnel(home_address, care_of)), route_replace(_crossing(home_address)))
        await run(["nft", f"add element {_reverse(home_address, care_of)}"])

    async def retarget(self, home_address: IPv6Address, old: IPv6Address, new: IPv6Address) -> None:
        """Do both with another care-of address."""
        with Netlink() as netlink:
            netlink.apply(route_replace(self._tunnel(home_address, new)))
        fresh = f"add element {_reverse(home_address, new)}"
        await run(["nft", f"delete element {_reverse(home_address, old)}; {fresh}"])

    async def expel(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Do neither any more."""
        with Netlink() as netlink:
            netlink.apply(route_del(_crossing(home_address)), route_del(self._tunnel(home_address, care_of)))
        await run(["nft", f"delete element {_reverse(home_address, care_of)}"])

    def _tunnel(self, home_address: IPv6Address, care_of: IPv6Address) -> Route:
        """The route that puts packets in; they leave by the way to the care-of address, whatever device it names."""
        return Route(IPv6Network(home_address), device=self._device, table=_AWAY, tunnel=Encapsulate(care_of))


class MobilePath:
    """A mobile node's end of the tunnel to its home agent."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._home_address: IPv6Address | None = None

    def prepare(self) -> None:
        """Make the link that leads into the tunnel.

        Its packets are forwarded into the tunnel, nothing else is: the guard sees to that, and to its routers and
        neighbours the mobile node stays a host.
        """
        write_sysctl("net/ipv6/conf/all/forwarding", 1)
        write_sysctl(f"net/ipv6/conf/{self._interface}/forwarding", 0)
        with Netlink() as netlink:
            _prepare(netlink, netlink.link(self._interface))

    async def open(self, home_address: IPv6Address, home_agent: IPv6Address, care_of: IPv6Address) -> None:
        """Put the home address on this node; what has it for its source goes through the home agent."""
        home_route.go_away(home_address, tunnel_interface=True)
        self._home_address = home_address
        with Netlink() as netlink:
            netlink.apply(route_replace(_crossing(None)), rule_add(_into(IPv6Network(home_address))))
        await run(["nft", f"flush set {_AGENTS}; add element {_AGENTS} {{ {home_agent} }}"])
        self.aim(home_agent, care_of)

    def aim(self, home_agent: IPv6Address, care_of: IPv6Address) -> None:
        """Have the tunnel begin at another care-of address (RFC 6275 section 11.3.1)."""
        with Netlink() as netlink:
            device = netlink.link(self._interface).index
            _clear(netlink)
            into = Route(device=device, table=_AWAY, tunnel=Encapsulate(home_agent))
            netlink.apply(route_replace(into), route_replace(_end(care_of, Table.LOCAL, device)))
        set_tunnel_source(care_of)

    async def close(self) -> None:
        """Undo ``open``; a second time does nothing."""
        home_address, self._home_address = self._home_address, None
        if home_address is None:
            return
        with Netlink() as netlink:
            _clear(netlink)
            netlink.apply(route_del(_crossing(None)), rule_del(_into(IPv6Network(home_address))))
        home_route.give_up(home_address, tunnel_interface=True)
        await run(["nft", f"flush set {_AGENTS}"])


def _prepare(netlink: Netlink, outside: Link, *more: Request) -> None:
    """Look at where tunnels end before local delivery; make the link that leads into tunnels; ``more``; once for all.

    What goes into a tunnel crosses a link of its own with the MTU of a tunnel over the link ``outside``. So the kernel
    treats the inner packet as on any link: tells its sender that it is too big, or makes fragments of our own
    (RFC 2473 section 7.1). A tunnel by a route alone would do neither.
    """
    if any(rule.priority == _BEFORE_LOCAL for rule in netlink.rules()):
        return
    netlink.apply(
        rule_add(Rule(_LOCAL, table=Table.LOCAL)),
        rule_add(Rule(_BEFORE_LOCAL, table=_ENDS, protocol=_IPV6)),
        rule_del(Rule(0, table=Table.LOCAL)),
        link_add_veth(_NEAR, _FAR, mtu=outside.mtu - _HEADER, up=True),
        link_set(_FAR.index, up=True),
        neighbour_add(Neighbour(_NEAR.index, _THROUGH, mac=_FAR.mac)),
        *more,
    )


def _into(source: IPv6Network = DEFAULT) -> Rule:
    """Look up the tunnel of what has crossed the link; outer packets must not match, they are looked up once more."""
    return Rule(_AFTER_LOCAL, table=_AWAY, iif=_FAR.name, source=source)


def _end(address: IPv6Address, table: int, device: int) -> Route:
    """Take out what comes to an address with an IPv6 packet inside, and look that one up in a table."""
    return Route(IPv6Network(address), device=device, table=_ENDS, tunnel=Decapsulate(table))


def _crossing(home_address: IPv6Address | None) -> Route:
    """The route over the link that leads into tunnels: to a home address; without one a mobile node's for all."""
    if home_address is None:
        return Route(via=_THROUGH, device=_NEAR.index, table=home_route.TABLE)
    return Route(IPv6Network(home_address), via=_THROUGH, device=_NEAR.index)


def _clear(netlink: Netlink) -> None:
    """Forget the tunnel; the kernel forgets it by itself where the interface goes down."""
    netlink.apply(*(route_del(route) for table in (_AWAY, _ENDS) for route in netlink.routes(table)))


def _reverse(home_address: IPv6Address, care_of: IPv6Address) -> str:
    """The element of the guard's set that lets a reverse tunnel in; nftables takes the inner source for a number."""
    return f"{_REVERSE} {{ {care_of} . {int(home_address):#034x} }}"
