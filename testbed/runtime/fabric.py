"""The wires: a bridge for each network, in a namespace of the fabric's own, and a veth from it to each interface.

A wire belongs to the fabric, not to the node at its end: a node can be restarted, and a mobile node moved from one
network to another by giving its port another bridge.
"""

from __future__ import annotations

from ipaddress import IPv6Interface
from typing import TYPE_CHECKING

from testbed.netlink import (
    AddressFlag,
    Netlink,
    OperState,
    Request,
    Route,
    VethEnd,
    address_add,
    in_namespace,
    link_add_bridge,
    link_add_veth,
    link_set,
    route_add,
    write_sysctl,
)
from testbed.runtime.base import FABRIC, Room
from testbed.topology.model import Service
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from testbed.topology.plan import Host, Leg, Plan, Timing

_LOOPBACK = 1  # the kernel's interface index of lo in every namespace
_FORWARD_EAPOL = 8  # IEEE 802.1D reserves 01:80:c2:00:00:03 and a bridge keeps it unless told to forward
_MILLISECONDS = 1000
_CARRIER_DEADLINE = 5.0


def wire(plan: Plan, rooms: dict[str, Room]) -> None:
    """Make all bridges and links of a lab, then configure every node's interfaces."""
    fabric = rooms[FABRIC].init.pid
    with in_namespace(fabric):
        # before the first interface: else the ports' own router solicitations and DAD appear on the wires
        write_sysctl("net/ipv6/conf/all/disable_ipv6", 1)
        write_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    for host in plan.hosts.values():
        with in_namespace(rooms[host.name].init.pid):
            _sysctls(host)
    with Netlink(fabric, node=FABRIC) as netlink:
        bridges = plan.wires.values()
        netlink.apply(
            *(link_add_bridge(w.name, w.index, group_fwd_mask=_FORWARD_EAPOL) for w in bridges),
            *(link_set(w.index, up=True) for w in bridges),
            *(_veth(leg, plan, rooms[host.name].init.pid) for host in plan.hosts.values() for leg in host.legs),
        )
    for host in plan.hosts.values():
        configure(host, rooms[host.name], plan.timing)


def configure(host: Host, room: Room, timing: Timing) -> None:
    """Set a node's interfaces up, with its addresses and routes; a mobile node's stays down until it attaches."""
    if host.mobile:
        with in_namespace(room.init.pid):
            for leg in host.legs:
                # the kernel waits this long for an answer to each DAD probe
                name = f"net/ipv6/neigh/{leg.name}/retrans_time_ms"
                write_sysctl(name, int(timing.retrans_timer * _MILLISECONDS))
    with Netlink(room.init.pid, node=host.name) as netlink:
        netlink.apply(link_set(_LOOPBACK, up=True), *_configuration(host))


async def move(plan: Plan, fabric: Room, room: Room, leg: Leg, network: str) -> None:
    """Plug a node's interface into another network; the node sees the carrier go and come back.

    Raises:
        NotReadyError: the node's kernel did not notice that the carrier is gone.
    """
    with Netlink(fabric.init.pid, node=FABRIC) as netlink, Netlink(room.init.pid, node=room.name) as inside:

        def unplugged() -> None:
            # only then the node's kernel has told; a carrier that returns before that is no event
            state = inside.link(leg.name).oper_state
            if state is OperState.UP:
                raise Unmet(f"{leg.name} is {state.name}")

        netlink.apply(link_set(leg.port, up=False))
        await wait_until(unplugged, deadline=_CARRIER_DEADLINE, what="the carrier is gone", where=room.name)
        netlink.apply(link_set(leg.port, master=plan.wires[network].index), link_set(leg.port, up=True))


def _veth(leg: Leg, plan: Plan, pid: int) -> Request:
    port_mac = f"06{leg.mac[2:]}"
    return link_add_veth(
        VethEnd(leg.port, leg.port_index, port_mac),
        VethEnd(leg.name, leg.index, leg.mac),
        peer_namespace=pid,
        master=plan.wires[leg.network].index,
        up=True,
    )


def _configuration(host: Host) -> list[Request]:
    if host.mobile:
        return []
    return [
        *(link_set(leg.index, up=True) for leg in host.legs),
        *(
            address_add(leg.index, leg.address, flags=AddressFlag.NODAD)
            for leg in host.legs
            if isinstance(leg.address, IPv6Interface)
        ),
        *(route_add(Route(route.destination, route.via)) for route in host.routes),
    ]


def _sysctls(host: Host) -> None:
    """Kernel parameters of a node, set before its interfaces exist so that they inherit them."""
    for scope in ("all", "default"):
        base = f"net/ipv6/conf/{scope}"
        write_sysctl(f"{base}/disable_ipv6", 0)
        if not host.mobile:
            # addresses of the infrastructure come from the plan, which gives none twice
            write_sysctl(f"{base}/accept_dad", 0)
            write_sysctl(f"{base}/accept_ra", 0)
            write_sysctl(f"{base}/autoconf", 0)
    if Service.ROUTER in host.services:
        write_sysctl("net/ipv6/conf/all/forwarding", 1)
    if host.mobile:
        # its agent solicits routers itself, after a move as well, and draws the delay before that
        write_sysctl("net/ipv6/conf/default/router_solicitations", 0)
        write_sysctl("net/ipv6/conf/default/router_solicitation_delay", 0)
