"""Names of mobile nodes in the DNS: in the domain of who runs the home agent, and of nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.topology.model import Configured, Dhaad, DnsAaaa, DnsSrv, NetworkKind, Role, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts
    from testbed.topology.model import Discovery


def hostnames(facts: Facts) -> Iterator[Problem]:
    """Give the problems of the names that mobile nodes have."""
    owners = {
        f"{node}.{facts.topology.operators[operator].domain}": f"node '{node}'"
        for node in facts.topology.nodes
        if (operator := facts.operator_of(node))
    }
    for name, mobile in facts.topology.mobile_nodes.items():
        if mobile.hostname is None:
            continue
        place, who = ("mobile_nodes", name, "hostname"), f"mobile node '{name}'"
        owner = owners.setdefault(mobile.hostname, who)
        if owner != who:
            hint = "give each a name of its own"
            yield facts.marks.at_value(place, f"hostname '{mobile.hostname}' of {who} is that of {owner}", hint)
        domain = _domain(facts, mobile.home_agent)
        if domain is None:  # told already: what it knows leads to no home agent
            continue
        if not mobile.hostname.endswith(f".{domain}"):
            message = f"hostname '{mobile.hostname}' of {who} is not in '{domain}', the domain of its home agent"
            yield facts.marks.at_value(place, message, f"write a name such as {name}.{domain}")
            continue
        operator = facts.owner_of(domain, Role.MSP)
        if operator and facts.lacks(operator, Service.BIND):
            message = f"{who} has a hostname, but operator '{operator}' has no node with bind to keep it"
            yield facts.marks.at_value(place, message, "add a node of this operator with services: [bind]")


def _domain(facts: Facts, seed: Discovery) -> str | None:
    """Return the domain of the operator whose home agents a mobile node finds, if it finds any."""
    agents = facts.topology.nodes_with(Service.HOME_AGENT)
    match seed:
        case DnsSrv(domain=domain):
            found = [node for node in agents if _domain_of(facts, node) == domain]
        case DnsAaaa(name=host):
            found = [node for node in agents if f"{node}.{_domain_of(facts, node)}" == host]
        case Configured(node=name):
            found = [node for node in agents if node == name]
        case Dhaad(prefix=prefix):
            homes = facts.networks_of_kind(NetworkKind.HOME)
            links = {home for home in homes if facts.topology.networks[home].prefix == prefix}
            found = [node for node in agents if links & set(facts.topology.nodes[node].networks)]
    return _domain_of(facts, found[0]) if found else None


def _domain_of(facts: Facts, node: str) -> str | None:
    operator = facts.operator_of(node)
    return facts.topology.operators[operator].domain if operator else None
