"""Nodes: services that belong together are together, and stand where they are of use."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.model import IPSEC, NetworkKind, Service
from testbed.topology.words import joined, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts
    from testbed.topology.marks import Location

_OWNED = (Service.BIND, Service.FREERADIUS)
_SERVES = {
    Service.KEA: (NetworkKind.ACCESS,),
    Service.RADVD: (NetworkKind.ACCESS, NetworkKind.HOME),
}


def nodes(facts: Facts) -> Iterator[Problem]:
    """Give the problems of nodes."""
    return chain(
        _home_agents(facts), _preferences(facts), _lonely_strongswan(facts), _useless(facts), _ownerless(facts)
    )


def _service(facts: Facts, node: str, service: Service) -> Location:
    """Return the location of a service of a node."""
    return ("nodes", node, "services", facts.topology.nodes[node].services.index(service))


def _home_agents(facts: Facts) -> Iterator[Problem]:
    """Ask home agents for the services that they consist of, for one home network, and for its operator."""
    for name in facts.topology.nodes_with(Service.HOME_AGENT):
        place = _service(facts, name, Service.HOME_AGENT)
        needed = facts.beside_home_agent
        absent = [service for service in needed if not facts.runs(name, service)]
        if absent:
            message = f"node '{name}' runs home-agent without {joined(absent)}"
            yield facts.marks.at_value(place, message, f"a home agent also needs: {listing(needed)}")
        if not facts.networks_known(name):
            continue
        homes = facts.networks_around(name, (NetworkKind.HOME,))
        if len(homes) == 1:
            yield from _same_operator(facts, name, homes[0])
        else:
            found = f"{len(homes)} home networks: {joined(homes)}" if homes else "no home network"
            hint = "a home agent serves exactly one network of kind home"
            yield facts.marks.at_value(("nodes", name, "networks"), f"home agent '{name}' is on {found}", hint)


def _same_operator(facts: Facts, node: str, network: str) -> Iterator[Problem]:
    """Ask for a home agent to belong to the operator of its home network."""
    owner = facts.topology.networks[network].operator
    if owner not in facts.topology.operators or not facts.operator_known(node):
        return
    operator = facts.operator_of(node)
    if operator != owner:
        whose = f"to operator '{operator}'" if operator else "to no operator"
        message = f"home agent '{node}' belongs {whose}, its home network '{network}' to operator '{owner}'"
        hint = f"give it 'operator: {owner}'; without, a node belongs to the operator of its first network"
        yield facts.marks.at_key(("nodes", node, "operator"), message, hint)


def _preferences(facts: Facts) -> Iterator[Problem]:
    """Refuse the preference of a node that is no home agent."""
    for name, node in facts.topology.nodes.items():
        if node.preference and not facts.runs(name, Service.HOME_AGENT):
            message = f"node '{name}' has a preference, but does not run home-agent"
            yield facts.marks.at_key(("nodes", name, "preference"), message, "leave it out: it is for home agents only")


def _lonely_strongswan(facts: Facts) -> Iterator[Problem]:
    """Refuse strongSwan without a home agent, as mobile nodes bring their own, and without IPsec."""
    protection = facts.topology.protection
    for name in facts.topology.nodes_with(Service.STRONGSWAN):
        if protection not in IPSEC:
            message = f"node '{name}' runs strongswan, which protection '{protection}' does not use"
            yield facts.marks.at_value(_service(facts, name, Service.STRONGSWAN), message, "remove strongswan")
        elif not facts.runs(name, Service.HOME_AGENT):
            hint = "add home-agent, or remove strongswan; mobile nodes have theirs without saying so"
            message = f"node '{name}' runs strongswan without home-agent"
            yield facts.marks.at_value(_service(facts, name, Service.STRONGSWAN), message, hint)


def _useless(facts: Facts) -> Iterator[Problem]:
    """Refuse radvd and kea on nodes that are on no network where they would serve anybody."""
    for service, kinds in _SERVES.items():
        for name in facts.topology.nodes_with(service):
            if facts.networks_known(name) and not facts.networks_around(name, kinds):
                kinds_or = " or ".join(kinds)
                message = f"node '{name}' runs {service}, but is on no {kinds_or} network"
                hint = f"put it on a network of kind {kinds_or}, or remove {service}"
                if not facts.runs(name, Service.HOME_AGENT):  # whose lack of a home network is told already
                    yield facts.marks.at_value(_service(facts, name, service), message, hint)


def _ownerless(facts: Facts) -> Iterator[Problem]:
    """Refuse name and AAA servers of nobody: each serves its operator's domain and realm."""
    for service in _OWNED:
        for name in facts.topology.nodes_with(service):
            if facts.operator_known(name) and facts.operator_of(name) is None:
                message = f"node '{name}' runs {service}, but belongs to no operator"
                hint = "give it 'operator: NAME', or put a network that has an operator first in its list"
                yield facts.marks.at_value(_service(facts, name, service), message, hint)
