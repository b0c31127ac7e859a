"""Links, addresses, routes, rules and neighbours as the kernel tells them, frozen.

``Route``, ``Rule`` and ``Neighbour`` are also what the requests to add or delete them take, so that one which
was read can be put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import Final

INFINITE: Final = 0xFFFFFFFF
"""A lifetime without end, in seconds (RFC 4861 section 4.6.2)."""

DEFAULT: Final = IPv6Network("::/0")
"""The destination of a default route; a selector of a rule that matches everything."""


class Table(IntEnum):
    """Routing tables that always exist (linux/rtnetlink.h, RT_TABLE_*); any other number may be used too."""

    UNSPECIFIED = 0
    MAIN = 254
    LOCAL = 255


class RouteType(IntEnum):
    """What a route does with a packet (linux/rtnetlink.h, RTN_*)."""

    UNSPECIFIED = 0
    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9
    NAT = 10
    XRESOLVE = 11


class RouteOrigin(IntEnum):
    """Who made a route (linux/rtnetlink.h, RTPROT_*); daemons have other numbers."""

    UNSPECIFIED = 0
    KERNEL = 2
    STATIC = 4
    ROUTER_ADVERTISEMENT = 9


class RuleAction(IntEnum):
    """What a rule does with a packet that it matches (linux/fib_rules.h, FR_ACT_*)."""

    UNSPECIFIED = 0
    LOOKUP = 1
    GOTO = 2
    NOTHING = 3
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8


class AddressFlag(IntFlag):
    """State of an address and wishes about it (linux/if_addr.h, IFA_F_*)."""

    TEMPORARY = 0x01
    NODAD = 0x02
    OPTIMISTIC = 0x04
    DADFAILED = 0x08
    HOME = 0x10
    DEPRECATED = 0x20
    TENTATIVE = 0x40
    PERMANENT = 0x80
    MANAGE_TEMPORARY = 0x100
    NO_PREFIX_ROUTE = 0x200
    STABLE_PRIVACY = 0x800


class OperState(IntEnum):
    """Operational state of a link (RFC 2863 section 6, ifOperStatus; linux/if.h, IF_OPER_*)."""

    UNKNOWN = 0
    NOT_PRESENT = 1
    DOWN = 2
    LOWER_LAYER_DOWN = 3
    TESTING = 4
    DORMANT = 5
    UP = 6


class NeighbourState(IntFlag):
    """State of a neighbour (RFC 4861 section 7.3.2; linux/neighbour.h, NUD_*)."""

    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


@dataclass(frozen=True, slots=True)
class Link:
    """An interface.

    ``up`` is the administrator's will, ``carrier`` the state of the wire, ``master`` the index of the bridge
    or 0. A port of a bridge forwards only from ``oper_state`` UP on, which may follow ``carrier`` later.
    """

    index: int
    name: str
    up: bool
    carrier: bool
    oper_state: OperState
    mac: str
    mtu: int
    master: int
    kind: str


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv6 address on the link with index ``device``; lifetimes in seconds, from now, at most INFINITE."""

    device: int
    interface: IPv6Interface
    flags: AddressFlag
    valid: int
    preferred: int

    @property
    def usable(self) -> bool:
        """Whether a socket can be bound to it: DAD has not failed, and is over or optimistic (RFC 4429)."""
        if AddressFlag.DADFAILED in self.flags:
            return False
        return AddressFlag.TENTATIVE not in self.flags or AddressFlag.OPTIMISTIC in self.flags


@dataclass(frozen=True, slots=True)
class Encapsulate:
    """What a route does before its next hop: it puts packets into IPv6 packets to ``peer`` (RFC 2473).

    By segment routing reduced to a single segment, which leaves nothing of it on the wire (RFC 8986 section 5.2). The
    outer source is that of ``set_tunnel_source``.
    """

    peer: IPv6Address


@dataclass(frozen=True, slots=True)
class Decapsulate:
    """What a route does with IPv6 in IPv6: it looks the inner packet up in ``table`` (RFC 8986 section 4.6)."""

    table: int


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv6 route.

    ``via`` is the next hop, ``device`` the index of the outgoing link or 0, ``source`` the preferred source
    address. ``metric`` 0 leaves it to the kernel, which takes 1024. ``table`` is a ``Table`` or another
    number below 2**32. ``tunnel`` is not read back from the kernel.
    """

    destination: IPv6Network = DEFAULT
    via: IPv6Address | None = None
    device: int = 0
    table: int = Table.MAIN
    metric: int = 0
    source: IPv6Address | None = None
    type: RouteType = RouteType.UNICAST
    origin: int = RouteOrigin.STATIC
    tunnel: Encapsulate | Decapsulate | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An IPv6 policy rule (ip-rule(8)): a packet that all selectors match is looked up in ``table``.

    ``inverted`` is the "not" of ip-rule(8). ``mark_mask`` 0 stands for all bits. ``protocol`` is a next
    header or 0. Rules are tried from the lowest ``priority`` upwards.
    """

    priority: int
    table: int = Table.UNSPECIFIED
    source: IPv6Network = DEFAULT
    destination: IPv6Network = DEFAULT
    iif: str = ""
    mark: int = 0
    mark_mask: int = 0
    protocol: int = 0
    inverted: bool = False
    action: RuleAction = RuleAction.LOOKUP


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour on the link with index ``device``, or an address to defend there for another node: a proxy.

    A proxy needs no ``mac``, and works only with the sysctl proxy_ndp of the link.
    """

    device: int
    address: IPv6Address
    mac: str = ""
    state: NeighbourState = NeighbourState.PERMANENT
    router: bool = False
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Resolvers:
    """DNS servers that a router announced on the link ``device``; seconds (RFC 8106 section 5.1)."""

    device: int
    router: IPv6Address | None
    lifetime: int
    servers: tuple[IPv6Address, ...]


Record = Link | Address | Route | Rule | Neighbour | Resolvers
