"""Operators: together they hold the roles that are needed, and each runs the AAA server that it needs."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.model import Protection, Role, Service
from testbed.topology.shape import PROTECTIONS
from testbed.topology.words import joined, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts

_NEEDED = {
    Role.ASP: "access service provider: gives connectivity",
    Role.MSP: "mobility service provider: runs home agents",
    Role.MSA: "mobility service authorizer: decides who may use home agents",
}


def operators(facts: Facts) -> Iterator[Problem]:
    """Give the problems of operators, and of the topology as a whole."""
    return chain(_protection(facts), _roles(facts), _domains(facts), _authentication(facts))


def _protection(facts: Facts) -> Iterator[Problem]:
    """Refuse ways of protection that are not implemented, and no protection by accident."""
    chosen: Protection = facts.topology.protection
    if chosen not in PROTECTIONS:
        hint = f"allowed now: {listing(PROTECTIONS)}"
        yield facts.marks.at_value(("protection",), f"protection '{chosen}' is not implemented yet", hint)
    wanted = facts.topology.lab_only_unprotected
    if chosen is Protection.NONE and not wanted:
        hint = "write 'lab_only_unprotected: true' beside it if that is what you want"
        yield facts.marks.at_value(("protection",), "protection 'none' leaves Binding Updates unprotected", hint)
    elif wanted and chosen is not Protection.NONE:
        message = f"'lab_only_unprotected' is true, but protection is '{chosen}'"
        yield facts.marks.at_key(("lab_only_unprotected",), message, "remove it, or write protection: none")


def _roles(facts: Facts) -> Iterator[Problem]:
    """Ask for each role without which nobody bootstraps; without ASA, access is open (RFC 4640 section 7)."""
    for role, meaning in _NEEDED.items():
        if not facts.topology.holders(role):
            hint = f"add '{role}' to the roles of one of: {listing(facts.topology.operators)}"
            yield facts.marks.at_key(("operators",), f"no operator holds the role '{role}' ({meaning})", hint)


def _domains(facts: Facts) -> Iterator[Problem]:
    """Refuse a domain that two operators have: it is also the realm that AAA requests are routed by."""
    owners: dict[str, str] = {}
    for name, operator in facts.topology.operators.items():
        owner = owners.setdefault(operator.domain, name)
        if owner != name:
            message = f"operators '{owner}' and '{name}' have the same domain '{operator.domain}'"
            yield facts.marks.at_value(("operators", name, "domain"), message, "give each a domain of its own")


def _authentication(facts: Facts) -> Iterator[Problem]:
    """Ask for one AAA server where mobile nodes are authorized or home agents run; refuse a second."""
    known = [mobile for mobile in facts.topology.mobile_nodes.values() if facts.topology.asks_aaa(mobile)]
    realms = {mobile.nai.partition("@")[2] for mobile in known}
    for name, operator in facts.topology.operators.items():
        servers = facts.nodes_of(name, Service.FREERADIUS)
        for extra in servers[1:]:
            index = facts.topology.nodes[extra].services.index(Service.FREERADIUS)
            message = f"operator '{name}' has more than one node with freeradius: {joined(servers)}"
            hint = "keep one of them; the testbed runs one AAA server per operator for now"
            yield facts.marks.at_value(("nodes", extra, "services", index), message, hint)
        needs = []
        if known and facts.nodes_of(name, Service.HOME_AGENT):
            needs.append("its home agents have nobody to ask")
        if operator.domain in realms and Role.MSA in operator.roles:
            needs.append(f"nobody can authorize mobile nodes of its realm {operator.domain}")
        if needs and facts.lacks(name, Service.FREERADIUS):
            hint = "add a node of this operator with services: [freeradius]"
            message = f"operator '{name}' has no node with freeradius: {' and '.join(needs)}"
            yield facts.marks.at_key(("operators", name), message, hint)
