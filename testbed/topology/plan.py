"""From what a person wrote to what the machine needs: addresses, interfaces, routes, secrets, certificates.

Deterministic: the same topology gives the same plan.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter, deque
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from itertools import count

from testbed.topology.model import (
    IPSEC,
    Configured,
    Dhaad,
    DnsAaaa,
    MnAaaKey,
    MnHaKey,
    MobileNode,
    Network,
    NetworkKind,
    Node,
    Role,
    Service,
    Timers,
    Topology,
)
from testbed.topology.pki import Authority, Credentials, Secret

_SITE = int(IPv6Network("2001:db8::/32").network_address)  # documentation prefix, RFC 3849
_FIRST_HOME_ADDRESS = 0x1_0001  # interface identifiers of home addresses: above those of the link's own nodes
_FIRST_SPI = 256  # RFC 4285 section 5.1 reserves those below
_FIRST_POOL, _POOL_LENGTH = 0x10_0000, 112  # what each home agent gives out: apart from what is planned
_FIRST_INDEX = 1001  # interface indexes unique in the lab: a veth with equal ones at its ends waits 1 s for its carrier


class Esp(StrEnum):
    """Who does ESP on this machine."""

    KERNEL = "kernel"
    USERLAND = "userland"  #: charon's own, through a TUN interface


class Firewall(StrEnum):
    """What filters packets on this machine."""

    NFTABLES = "nftables"
    IP6TABLES = "ip6tables"  #: where nftables does not know IPv6, as in user-mode-linux


@dataclass(frozen=True)
class Timing:
    """Delays that the RFCs ask for, in seconds; ``fast`` ones are shortened, never left out."""

    solicitation_delay: float  #: MAX_RTR_SOLICITATION_DELAY, RFC 4861 section 10
    retrans_timer: float  #: RETRANS_TIMER, RFC 4861 section 10: how long one DAD probe waits
    dhcp_delay: float  #: SOL_MAX_DELAY and INF_MAX_DELAY, RFC 8415 section 7.6
    prefix_interval: tuple[float, float]  #: MinMobPfxAdvInterval and MaxMobPfxAdvInterval, RFC 6275 section 13


TIMINGS = {
    Timers.STANDARD: Timing(
        solicitation_delay=1.0, retrans_timer=1.0, dhcp_delay=1.0, prefix_interval=(600.0, 86400.0)
    ),
    Timers.FAST: Timing(solicitation_delay=0.0, retrans_timer=0.01, dhcp_delay=0.0, prefix_interval=(0.05, 0.1)),
}


@dataclass(frozen=True)
class Wire:
    """A network's bridge in the fabric, and its prefix."""

    name: str
    index: int
    prefix: IPv6Network
    network: Network


@dataclass(frozen=True)
class Leg:
    """A node's interface on a network: a veth whose other end is a port of the network's bridge."""

    name: str
    index: int
    mac: str
    network: str
    address: IPv6Interface | None  #: None on a mobile node: it has to find one
    port: str
    port_index: int


@dataclass(frozen=True)
class Route:
    """A static route."""

    destination: IPv6Network
    via: IPv6Address


@dataclass(frozen=True)
class Host:
    """A node as the machine needs it; ``domain`` is its operator's, ``mobile`` the seed information if it is mobile."""

    name: str
    operator: str | None
    domain: str | None
    services: frozenset[Service]
    legs: tuple[Leg, ...]
    routes: tuple[Route, ...]
    mobile: MobileNode | None = None
    after: tuple[str, ...] = ()
    preference: int = 0  #: of a home agent (RFC 6275 section 7.4)
    ipsec: bool = True  #: whether a mobile node has a charon

    @property
    def fqdn(self) -> str:
        """Its name in the DNS; the bare name if no operator runs it."""
        return f"{self.name}.{self.domain}" if self.domain else self.name

    @property
    def forwards(self) -> bool:
        """Whether it is a router."""
        return Service.ROUTER in self.services

    @property
    def address(self) -> IPv6Address:
        """The address by which others reach it: its first."""
        return next(leg.address.ip for leg in self.legs if leg.address)

    def addresses_on(self, network: str) -> list[IPv6Address]:
        """Return its addresses on a network, none if it is not on it or has to find one."""
        return [leg.address.ip for leg in self.legs if leg.network == network and leg.address]

    def on(self, network: str) -> IPv6Address:
        """Return its address on a network."""
        return next(leg.address.ip for leg in self.legs if leg.network == network and leg.address)


@dataclass(frozen=True)
class Subscriber:
    """A mobile node as its authorizer knows it."""

    node: str
    nai: str
    home_address: IPv6Address
    password: Secret  #: what the authorizer holds; of RFC 4285, a key in hexadecimal digits
    typed: Secret  #: what the mobile node holds
    by_aaa: bool  #: whether AAA authenticates it
    spi: int  #: by which mobile node and home agent know their key: RFC 4285 section 5.1, above those that are reserved
    mn_ha_key: Secret | None  #: what the home agent holds, from AAA if it authenticates


@dataclass(frozen=True)
class Plan:
    """A topology made ready for a machine."""

    topology: Topology
    timing: Timing
    esp: Esp
    authority: Authority
    wires: dict[str, Wire]
    hosts: dict[str, Host]
    subscribers: dict[str, Subscriber]
    certificates: dict[str, Credentials]
    firewall: Firewall = Firewall.NFTABLES

    def hosts_with(self, service: Service, operator: str | None = None) -> list[Host]:
        """Return the hosts that run a service, of one operator or of all."""
        return [h for h in self.hosts.values() if service in h.services and operator in (None, h.operator)]

    @property
    def ipsec(self) -> bool:
        """Whether mobile nodes and home agents use IKE and ESP."""
        return self.topology.protection in IPSEC

    def home_link(self, host: Host) -> Wire:
        """Return the home link that a home agent serves."""
        return next(
            self.wires[leg.network] for leg in host.legs if self.wires[leg.network].network.kind is NetworkKind.HOME
        )

    def home_agent_address(self, host: Host) -> IPv6Address:
        """Return a home agent's address: the one on its home link (RFC 6275 section 4.1)."""
        return host.on(self.home_link(host).name)

    def name_servers(self, operator: str | None) -> list[IPv6Address]:
        """Return the resolvers that an operator's customers use: its own, else all that there are."""
        own = self.hosts_with(Service.BIND, operator) if operator else []
        return [host.address for host in own or self.hosts_with(Service.BIND)]

    def aaa(self, operator: str | None) -> Host:
        """Return an operator's AAA server."""
        return self.hosts_with(Service.FREERADIUS, operator)[0]

    def aaa_peers(self, host: Host) -> list[Host]:
        """Return the AAA servers of the other operators."""
        return [other for other in self.hosts_with(Service.FREERADIUS) if other.name != host.name]

    def radius_secret(self, one: Host, other: Host) -> Secret:
        """Return the secret that two RADIUS peers share."""
        return self.authority.secret("radius " + " ".join(sorted((one.name, other.name))))

    def owners(self, home: Wire) -> dict[str, str]:
        """Return whose the home addresses of a home link are, as far as home agents know without asking AAA."""
        known = (s for s in self.subscribers.values() if not s.by_aaa)
        return {str(s.home_address): s.nai for s in known if s.home_address in home.prefix}

    def first_come(self, host: Host) -> IPv6Network | None:
        """Return what a home agent gives out to who comes first, None if nobody asks for it."""
        home = self.home_link(host)
        here = (m for m in self.topology.mobile_nodes.values() if self.home_link(self.candidates(m)[0]) == home)
        if all(mobile.home_address != "first-come" for mobile in here):
            return None
        agents = [agent for agent in self.hosts_with(Service.HOME_AGENT) if self.home_link(agent) == home]
        return IPv6Network((home.prefix[_FIRST_POOL * (1 + agents.index(host))], _POOL_LENGTH))

    def hostnames(self, operator: str | None) -> dict[str, str]:
        """Return the names that mobile nodes have in an operator's domain, by identity."""
        entry = self.topology.operators.get(operator or "")
        named = ((mobile.nai, mobile.hostname or "") for mobile in self.topology.mobile_nodes.values())
        return {nai: name for nai, name in named if entry and name.endswith(f".{entry.domain}")}

    def tsig_key(self, host: Host) -> Secret:
        """Return the key by which a home agent signs its DNS updates, base64 (RFC 8945)."""
        octets = bytes.fromhex(self.authority.secret(f"tsig {host.name}").reveal())
        return Secret(b64encode(octets).decode())

    def realm_subscribers(self, operator: str | None) -> list[Subscriber]:
        """Return the subscribers whose realm is the operator's domain, if its AAA authorizes mobility service."""
        entry = self.topology.operators.get(operator or "")
        if entry is None or Role.MSA not in entry.roles:
            return []
        return [s for s in self.subscribers.values() if s.by_aaa and s.nai.rpartition("@")[2] == entry.domain]

    def candidates(self, mobile: MobileNode) -> list[Host]:
        """Return the home agents that a mobile node's seed information can lead to."""
        agents = self.hosts_with(Service.HOME_AGENT)
        match mobile.home_agent:
            case Configured(node=node):
                return [host for host in agents if host.name == node]
            case DnsAaaa(name=name):
                return [host for host in agents if host.fqdn == name]
            case Dhaad(prefix=prefix):
                return [host for host in agents if self.home_link(host).prefix == prefix]
            case wanted:
                return [host for host in agents if host.domain == wanted.domain]


def make_plan(topology: Topology, passwords: dict[str, str], esp: Esp, firewall: Firewall = Firewall.NFTABLES) -> Plan:
    """Make the plan of a topology.

    Args:
        topology: a checked topology.
        passwords: what the password files hold, by mobile node.
        esp: who does ESP on this machine.
        firewall: what filters packets on this machine.
    """
    indexes = count(_FIRST_INDEX)
    wires = _wires(topology, indexes)
    hosts = _hosts(topology, wires, indexes)
    authority = Authority(topology.seed)
    bare = Plan(topology, TIMINGS[topology.timers], esp, authority, wires, hosts, {}, {})
    proving = bare.hosts_with(Service.HOME_AGENT) if bare.ipsec else []
    certificates = {h.name: authority.issue(h.fqdn, bare.home_agent_address(h)) for h in proving}
    subscribers = _subscribers(bare, passwords)
    return Plan(topology, bare.timing, esp, authority, wires, hosts, subscribers, certificates, firewall)


def _wires(topology: Topology, indexes: count[int]) -> dict[str, Wire]:
    taken = {network.prefix for network in topology.networks.values() if network.prefix}
    free = (p for n in count(1) if (p := IPv6Network((_SITE | n << 80, 64))) not in taken)
    return {
        name: Wire(name, next(indexes), network.prefix or next(free), network)
        for name, network in topology.networks.items()
    }


def _hosts(topology: Topology, wires: dict[str, Wire], indexes: count[int]) -> dict[str, Host]:
    used = dict.fromkeys(wires, 0)
    legs: dict[str, list[Leg]] = {name: [] for name in topology.nodes}
    ordered = sorted(topology.nodes.items(), key=lambda item: Service.ROUTER not in item[1].services)
    for name, node in ordered:
        for number, network in enumerate(node.networks):
            used[network] += 1
            prefix = wires[network].prefix
            address = IPv6Interface((prefix.network_address + used[network], prefix.prefixlen))
            legs[name].append(_leg(name, number, network, address, indexes))
    hosts = {}
    for name, node in topology.nodes.items():
        operator = topology.operator_of(name)
        domain = topology.operators[operator].domain if operator else None
        routes = _routes(name, topology.nodes, legs, wires)
        services = frozenset(node.services)
        hosts[name] = Host(
            name,
            operator,
            domain,
            services,
            tuple(legs[name]),
            routes,
            after=node.after,
            preference=node.preference,
        )
    for name, mobile in topology.mobile_nodes.items():
        leg = replace(_leg(name, 0, mobile.attach, None, indexes), name="eth0")
        ipsec = topology.protection in IPSEC
        hosts[name] = Host(name, None, None, frozenset(), (leg,), (), mobile, ipsec=ipsec)
    return hosts


def _leg(node: str, number: int, network: str, address: IPv6Interface | None, indexes: count[int]) -> Leg:
    index = next(indexes)
    mac = f"02:00:00:00:{index >> 8 & 255:02x}:{index & 255:02x}"
    return Leg(network, index, mac, network, address, f"{node}.{number}", next(indexes))


def _routes(name: str, nodes: dict[str, Node], legs: dict[str, list[Leg]], wires: dict[str, Wire]) -> tuple[Route, ...]:
    """Find the next hops over the fewest routers.

    A host gets a default route and a route for each network that lies elsewhere; a router a route for each network,
    so that no packet for an unknown address runs in circles, not even between two routers with one way out each.
    """
    routers = [n for n, node in nodes.items() if Service.ROUTER in node.services and n != name]
    hops: dict[str, IPv6Address] = {}
    reached = {leg.network for leg in legs[name]}
    near = sorted(reached)
    waiting = deque(
        (router, leg.address.ip) for router in routers for leg in legs[router] if leg.network in near and leg.address
    )
    while waiting:
        router, via = waiting.popleft()
        for leg in legs[router]:
            if leg.network in reached:
                continue
            reached.add(leg.network)
            hops[leg.network] = via
            waiting.extend((other, via) for other in routers if any(o.network == leg.network for o in legs[other]))
    is_host = Service.ROUTER not in nodes[name].services
    default = Counter(hops.values()).most_common(1)[0][0] if hops and is_host else None
    special = tuple(Route(wires[network].prefix, via) for network, via in hops.items() if via != default)
    return (Route(IPv6Network("::/0"), default), *special) if default else special


def _subscribers(plan: Plan, passwords: dict[str, str]) -> dict[str, Subscriber]:
    numbers: dict[str, count[int]] = {}
    subscribers = {}
    for name, mobile in plan.topology.mobile_nodes.items():
        home = plan.home_link(plan.candidates(mobile)[0])
        number = next(numbers.setdefault(home.name, count(_FIRST_HOME_ADDRESS)))
        written = passwords.get(name)
        password = Secret(written) if written else plan.authority.secret(f"password of {mobile.nai}")
        mistyped = mobile.credential is not None and mobile.credential.mistyped
        mn_ha_key = password if isinstance(mobile.credential, MnHaKey) else None
        if isinstance(mobile.credential, MnAaaKey):
            mn_ha_key = plan.authority.secret(f"MN-HA key of {mobile.nai}")
        subscribers[name] = Subscriber(
            node=name,
            nai=mobile.nai,
            home_address=home.prefix.network_address + number,
            password=password,
            typed=plan.authority.secret(f"mistyped {mobile.nai}") if mistyped else password,
            by_aaa=plan.topology.asks_aaa(mobile),
            spi=_FIRST_SPI + number - _FIRST_HOME_ADDRESS,
            mn_ha_key=mn_ha_key,
        )
    return subscribers
