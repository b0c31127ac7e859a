"""The files of every node: Jinja2 templates over the plan, the same octets each time.

Folder ``templates/<daemon>/`` holds what that daemon reads. A node sees its files below ``/run/lab/etc/<daemon>/``
(``ETC``), whatever machine or runtime it runs on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed.topology.model import Configured, Dhaad, Discovery, DnsAaaa, DnsSrv, MobileNode, NetworkKind, Service
from testbed.topology.plan import Firewall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.topology.plan import Host, Plan, Subscriber

ETC = "/run/lab/etc"
FREERADIUS_USER = "freerad"
_GUARDS = {Firewall.NFTABLES: "guard.nft", Firewall.IP6TABLES: "guard.ip6tables"}


@dataclass(frozen=True)
class File:
    """A rendered file; ``path`` is relative to the node's folder ``etc``, or ``var`` if its daemon changes it."""

    path: str
    content: str
    folder: str = "etc"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("testbed.render"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  configuration files, not HTML; the model admits no quote and no line break
    )


def render(plan: Plan) -> dict[str, tuple[File, ...]]:
    """Render the files of every node, by node."""
    return {name: tuple(_files(plan, host)) for name, host in plan.hosts.items()}


def _files(plan: Plan, host: Host) -> Iterator[File]:
    if Service.RADVD in host.services:
        yield _file("radvd/radvd.conf", plan, host)
    if Service.KEA in host.services:
        yield _file("kea/kea-dhcp6.conf", plan, host, access=_access(plan, host))
    if Service.BIND in host.services:
        yield from _bind(plan, host)
    if Service.FREERADIUS in host.services:
        yield from _freeradius(plan, host)
    if Service.STRONGSWAN in host.services:
        aaa = plan.aaa(host.operator)
        yield _file("strongswan/strongswan.conf", plan, host, aaa=aaa, secret=plan.radius_secret(aaa, host))
    if Service.HOME_AGENT in host.services:
        yield _guard("home-agent", plan, host)
        yield _file("home-agent/home-agent.json", plan, host, config=_home_agent(plan, host))
    if host.mobile:
        if plan.ipsec:
            yield _file("strongswan/strongswan.conf", plan, host)
        yield _guard("mobile-node", plan, host)
        yield _file("mobile-node/mobile-node.json", plan, host, config=_mobile_node(plan, host, host.mobile))


def _file(path: str, plan: Plan, host: Host, *, to: str | None = None, **context: Any) -> File:
    template = _templates().get_template(f"{path}.j2")
    return File(to or path, template.render(plan=plan, host=host, **context))


def _guard(agent: str, plan: Plan, host: Host) -> File:
    """Render the packet filter of an agent; without IPsec there is more for it to do, by nftables only."""
    if plan.ipsec:
        return _file(f"{agent}/{_GUARDS[plan.firewall]}", plan, host)
    return _file(f"{agent}/clear.nft", plan, host, to=f"{agent}/guard.nft")


def _access(plan: Plan, host: Host) -> list[dict[str, Any]]:
    return [
        {"leg": leg, "wire": wire}
        for leg in host.legs
        if (wire := plan.wires[leg.network]).network.kind is NetworkKind.ACCESS
    ]


def _bind(plan: Plan, host: Host) -> Iterator[File]:
    operators = {h.operator: h.domain for h in plan.hosts_with(Service.BIND)}
    domains = []
    for operator, domain in operators.items():
        hosts = plan.hosts_with(Service.BIND, operator)
        domains.append({"name": domain, "hosts": hosts, "servers": [h.address for h in hosts]})
    hostnames = plan.hostnames(host.operator)
    agents = plan.hosts_with(Service.HOME_AGENT, host.operator)
    yield _file(
        "bind/named.conf",
        plan,
        host,
        domains=domains,
        hostnames=list(hostnames.values()),
        updaters=[{"name": agent.fqdn, "key": plan.tsig_key(agent)} for agent in agents if hostnames],
    )
    yield _file("bind/root.zone", plan, host, domains=domains)
    zone = _file("bind/operator.zone", plan, host, to=f"bind/{host.domain}.zone")
    yield replace(zone, folder="var") if hostnames else zone


def _freeradius(plan: Plan, host: Host) -> Iterator[File]:
    peers = [{"host": peer, "secret": plan.radius_secret(host, peer)} for peer in plan.aaa_peers(host)]
    clients = [
        {"name": client.name, "address": client.address, "secret": plan.radius_secret(host, client)}
        for client in [*plan.hosts_with(Service.HOME_AGENT, host.operator), *plan.aaa_peers(host)]
    ]
    subscribers = plan.realm_subscribers(host.operator)
    yield _file(
        "freeradius/radiusd.conf",
        plan,
        host,
        peers=peers,
        clients=clients,
        subscribers=subscribers,
        user=FREERADIUS_USER,
    )
    if subscribers:
        yield _file("freeradius/users", plan, host, subscribers=subscribers)
    if not plan.ipsec:
        yield _file("freeradius/dictionary", plan, host)


def _home_agent(plan: Plan, host: Host) -> dict[str, Any]:
    wire = plan.home_link(host)
    common = {
        "identity": host.fqdn,
        "address": str(plan.home_agent_address(host)),
        "home_link": next(leg.name for leg in host.legs if leg.network == wire.name),
        "home_prefix": str(wire.prefix),
        "preference": host.preference,
        "retrans_timer": plan.timing.retrans_timer,
        "prefix_interval": plan.timing.prefix_interval,
        **({"owners": owners} if (owners := plan.owners(wire)) else {}),
        "reserved": [str(address) for other in plan.hosts.values() for address in other.addresses_on(wire.name)],
        **({"pool": str(pool)} if (pool := plan.first_come(host)) else {}),
        **_dns(plan, host),
    }
    if not plan.ipsec:
        return {**common, **_home_agent_in_clear(plan, host)}
    certificate = plan.certificates[host.name]
    return {
        **common,
        "esp": plan.esp.value,
        "certificate": certificate.certificate,
        "key": certificate.key.reveal(),
        "trust_anchor": plan.authority.certificate,
    }


def _dns(plan: Plan, host: Host) -> dict[str, Any]:
    """Say which names a home agent may write, and how it proves itself to the name servers."""
    allowed = plan.hostnames(host.operator)
    if not allowed:
        return {}
    servers = [str(server.address) for server in plan.hosts_with(Service.BIND, host.operator)]
    key = plan.tsig_key(host).reveal()
    names = {"name": host.domain, "servers": servers, "key_name": host.fqdn, "key": key, "allowed": allowed}
    return {"dns": names}


def _home_agent_in_clear(plan: Plan, host: Host) -> dict[str, Any]:
    """Say who may have which home address, as far as AAA need not be asked."""
    subscribers = [s for s in plan.subscribers.values() if host in plan.candidates(plan.topology.mobile_nodes[s.node])]
    return {
        "protection": plan.topology.protection.value,
        **_radius(plan, host),
        "own_addresses": [str(leg.address.ip) for leg in host.legs if leg.address],
        "mobile_nodes": [
            {"nai": subscriber.nai, "home_address": str(subscriber.home_address), **_shared(subscriber)}
            for subscriber in subscribers
            if not subscriber.by_aaa
        ],
    }


def _radius(plan: Plan, host: Host) -> dict[str, Any]:
    """Say whom the home agent asks about mobile nodes that it does not know."""
    if not any(subscriber.by_aaa for subscriber in plan.subscribers.values()):
        return {}
    aaa = plan.aaa(host.operator)
    return {"radius": {"server": str(aaa.address), "secret": plan.radius_secret(aaa, host).reveal()}}


def _shared(subscriber: Subscriber) -> dict[str, Any]:
    """What the home agent shares with a mobile node."""
    key = subscriber.mn_ha_key
    return {"spi": subscriber.spi, "key": key.reveal()} if key else {}


def _mobile_node(plan: Plan, host: Host, mobile: MobileNode) -> dict[str, Any]:
    subscriber = plan.subscribers[host.name]
    common = {
        "nai": subscriber.nai,
        "interface": host.legs[0].name,
        "discovery": _discovery(plan, mobile.home_agent),
        "solicitation_delay": plan.timing.solicitation_delay,
        "dhcp_delay": plan.timing.dhcp_delay,
        "retrans_timer": plan.timing.retrans_timer,
        **({"hostname": mobile.hostname} if mobile.hostname else {}),
    }
    if not plan.ipsec:
        return {
            **common,
            "protection": plan.topology.protection.value,
            "home_address": str(subscriber.home_address),
            **_keys(subscriber),
        }
    return {
        **common,
        "password": subscriber.typed.reveal(),
        "trust_anchor": plan.authority.certificate,
        "esp": plan.esp.value,
    }


def _keys(subscriber: Subscriber) -> dict[str, Any]:
    """The keys that a mobile node holds (RFC 4285); one that is mistyped is another than its peer's."""
    if subscriber.mn_ha_key is None:
        return {}
    typed = subscriber.typed.reveal()
    keys = {"mn_ha": subscriber.mn_ha_key.reveal(), "mn_aaa": typed} if subscriber.by_aaa else {"mn_ha": typed}
    return {"spi": subscriber.spi, "keys": keys}


def _discovery(plan: Plan, seed: Discovery) -> dict[str, str]:
    match seed:
        case Configured(node=node):
            agent = plan.hosts[node]
            address = plan.home_agent_address(agent)
            return {"method": seed.discovery, "name": agent.fqdn, "address": str(address)}
        case DnsAaaa(name=name):
            return {"method": seed.discovery, "name": name}
        case Dhaad(prefix=prefix):
            return {"method": seed.discovery, "prefix": str(prefix)}
        case DnsSrv(domain=domain):
            return {"method": seed.discovery, "domain": domain}
