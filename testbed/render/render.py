"""The files of every node: Jinja2 templates over the plan, the same octets each time.

Folder ``templates/<daemon>/`` holds what that daemon reads. A node sees its files below ``/run/lab/etc/<daemon>/``
(``ETC``), whatever machine or runtime it runs on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed.topology.model import Configured, Dhaad, Discovery, DnsAaaa, DnsSrv, MobileNode, NetworkKind, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.topology.plan import Host, Plan

ETC = "/run/lab/etc"
FREERADIUS_USER = "freerad"


@dataclass(frozen=True)
class File:
    """A rendered file; ``path`` is relative to the node's configuration folder."""

    path: str
    content: str


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
        yield _file("home-agent/guard.nft", plan, host)
        yield _file("home-agent/home-agent.json", plan, host, config=_home_agent(plan, host))
    if host.mobile:
        yield _file("strongswan/strongswan.conf", plan, host)
        yield _file("mobile-node/guard.nft", plan, host)
        yield _file("mobile-node/mobile-node.json", plan, host, config=_mobile_node(plan, host, host.mobile))


def _file(path: str, plan: Plan, host: Host, *, to: str | None = None, **context: Any) -> File:
    template = _templates().get_template(f"{path}.j2")
    return File(to or path, template.render(plan=plan, host=host, **context))


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
    yield _file("bind/named.conf", plan, host, domains=domains)
    yield _file("bind/root.zone", plan, host, domains=domains)
    yield _file("bind/operator.zone", plan, host, to=f"bind/{host.domain}.zone")


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


def _home_agent(plan: Plan, host: Host) -> dict[str, Any]:
    wire = plan.home_link(host)
    certificate = plan.certificates[host.name]
    return {
        "identity": host.fqdn,
        "address": str(plan.home_agent_address(host)),
        "home_link": next(leg.name for leg in host.legs if leg.network == wire.name),
        "home_prefix": str(wire.prefix),
        "preference": host.preference,
        "esp": plan.esp.value,
        "retrans_timer": plan.timing.retrans_timer,
        "certificate": certificate.certificate,
        "key": certificate.key.reveal(),
        "trust_anchor": plan.authority.certificate,
    }


def _mobile_node(plan: Plan, host: Host, mobile: MobileNode) -> dict[str, Any]:
    subscriber = plan.subscribers[host.name]
    return {
        "nai": subscriber.nai,
        "password": subscriber.typed.reveal(),
        "interface": host.legs[0].name,
        "discovery": _discovery(plan, mobile.home_agent),
        "trust_anchor": plan.authority.certificate,
        "esp": plan.esp.value,
        "solicitation_delay": plan.timing.solicitation_delay,
        "dhcp_delay": plan.timing.dhcp_delay,
        "retrans_timer": plan.timing.retrans_timer,
    }


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
