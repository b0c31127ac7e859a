"""Building and watching the network of namespaces from one process, without running a program per step.

::

    with Netlink(pid_of_switch, node="switch") as switch:
        switch.apply(
            link_add_bridge("home", 1001),
            link_add_veth(
                VethEnd("mn", 1002, "02:00:00:00:00:02"),
                VethEnd("eth0", 1003, "02:00:00:00:00:03"),
                peer_namespace=pid_of_node,
                master=1001,
                up=True,
            ),
        )
"""

from testbed.netlink.generic import set_tunnel_source
from testbed.netlink.namespace import Namespace, in_namespace, write_sysctl
from testbed.netlink.records import (
    DEFAULT,
    INFINITE,
    Address,
    AddressFlag,
    Decapsulate,
    Encapsulate,
    Link,
    Neighbour,
    NeighbourState,
    OperState,
    Resolvers,
    Route,
    RouteOrigin,
    RouteType,
    Rule,
    RuleAction,
    Table,
)
from testbed.netlink.requests import (
    Request,
    VethEnd,
    address_add,
    address_del,
    link_add_bridge,
    link_add_veth,
    link_del,
    link_set,
    neighbour_add,
    neighbour_del,
    route_add,
    route_del,
    route_replace,
    rule_add,
    rule_del,
)
from testbed.netlink.session import Netlink
from testbed.netlink.watch import Event, Gone, Overrun, Present, Watcher
from testbed.netlink.wire import NetlinkError

__all__ = [
    "DEFAULT",
    "INFINITE",
    "Address",
    "AddressFlag",
    "Decapsulate",
    "Encapsulate",
    "Event",
    "Gone",
    "Link",
    "Namespace",
    "Neighbour",
    "NeighbourState",
    "Netlink",
    "NetlinkError",
    "OperState",
    "Overrun",
    "Present",
    "Request",
    "Resolvers",
    "Route",
    "RouteOrigin",
    "RouteType",
    "Rule",
    "RuleAction",
    "Table",
    "VethEnd",
    "Watcher",
    "address_add",
    "address_del",
    "in_namespace",
    "link_add_bridge",
    "link_add_veth",
    "link_del",
    "link_set",
    "neighbour_add",
    "neighbour_del",
    "route_add",
    "route_del",
    "route_replace",
    "rule_add",
    "rule_del",
    "set_tunnel_source",
    "write_sysctl",
]
