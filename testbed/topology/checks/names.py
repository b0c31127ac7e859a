"""Names: each leads to what is declared, none is taken twice, none is reserved, nobody waits in a circle."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.words import suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts
    from testbed.topology.marks import Location
    from testbed.topology.model import Topology

#: names that the testbed or Linux uses itself
RESERVED = ("all", "default", "lo", "fabric", "ipsec0")


def names(facts: Facts) -> Iterator[Problem]:
    """Give the problems of names."""
    return chain(_reserved(facts), _clashes(facts), _unknown(facts), _repeated(facts), _cycles(facts))


def _reserved(facts: Facts) -> Iterator[Problem]:
    """Refuse names that mean something else on a command line or in a kernel."""
    topology = facts.topology
    sections = (
        ("operators", "an operator", topology.operators),
        ("networks", "a network", topology.networks),
        ("nodes", "a node", topology.nodes),
        ("mobile_nodes", "a mobile node", topology.mobile_nodes),
    )
    hint = f"choose another name; reserved are: {', '.join(RESERVED)}"
    for section, what, entries in sections:
        for name in RESERVED:
            if name in entries:
                yield facts.marks.at_key((section, name), f"'{name}' is reserved, {what} cannot have it", hint)


def _clashes(facts: Facts) -> Iterator[Problem]:
    """Refuse a mobile node that has a node's name: both are host names."""
    for name in facts.topology.mobile_nodes:
        if name in facts.topology.nodes:
            line = facts.marks.key("nodes", name).line
            hint = f"node '{name}' stands on line {line}; rename one of them"
            message = f"a node and a mobile node are both called '{name}'"
            yield facts.marks.at_key(("mobile_nodes", name), message, hint)


def _unknown(facts: Facts) -> Iterator[Problem]:
    """Refuse names of operators, networks and nodes that are not declared."""
    declared: dict[str, Iterable[str]] = {
        "operator": facts.topology.operators,
        "network": facts.topology.networks,
        "node": facts.topology.nodes,
    }
    for place, who, kind, name in _references(facts.topology):
        if name not in declared[kind]:
            hint = suggest(name, declared[kind], f"{kind}s declared in this file")
            yield facts.marks.at_value(place, f"{who} names {kind} '{name}', which is not declared", hint)


def _references(topology: Topology) -> Iterator[tuple[Location, str, str, str]]:
    """Give each place where a name is used, who uses it, what it should be the name of, and the name."""
    for name, network in topology.networks.items():
        if network.operator is not None:
            yield ("networks", name, "operator"), f"network '{name}'", "operator", network.operator
    for name, node in topology.nodes.items():
        who = f"node '{name}'"
        if node.operator is not None:
            yield ("nodes", name, "operator"), who, "operator", node.operator
        for index, other in enumerate(node.networks):
            yield ("nodes", name, "networks", index), who, "network", other
        for index, other in enumerate(node.after):
            yield ("nodes", name, "after", index), who, "node", other
    for name, mobile in topology.mobile_nodes.items():
        yield ("mobile_nodes", name, "attach"), f"mobile node '{name}'", "network", mobile.attach


def _repeated(facts: Facts) -> Iterator[Problem]:
    """Refuse entries that a list has twice."""
    for name, operator in facts.topology.operators.items():
        yield from _twice(facts, ("operators", name, "roles"), operator.roles, f"operator '{name}' has the role")
    for name, node in facts.topology.nodes.items():
        place = ("nodes", name)
        yield from _twice(facts, (*place, "networks"), node.networks, f"node '{name}' is on the network")
        yield from _twice(facts, (*place, "services"), node.services, f"node '{name}' has the service")
        yield from _twice(facts, (*place, "after"), node.after, f"node '{name}' waits for the node")


def _twice(facts: Facts, place: Location, words: Iterable[str], what: str) -> Iterator[Problem]:
    """Refuse the second and further occurrences of a word in a list."""
    seen = set()
    for index, word in enumerate(words):
        if word in seen:
            yield facts.marks.at_value((*place, index), f"{what} '{word}' twice", "remove one of them")
        seen.add(word)


def _cycles(facts: Facts) -> Iterator[Problem]:
    """Refuse nodes that wait for each other; of circles that share a node, one is told."""
    nodes = facts.topology.nodes
    for circle in _circles({name: [other for other in node.after if other in nodes] for name, node in nodes.items()}):
        first, second = circle[0], circle[1]
        path = " -> ".join(circle)
        message = f"nodes wait for each other: {path}"
        hint = "remove one of these names from the 'after' of the node before it"
        if first == second:
            message, hint = f"a node waits for itself: {path}", "remove it from its own 'after'"
        yield facts.marks.at_value(("nodes", first, "after", nodes[first].after.index(second)), message, hint)


def _circles(waits: dict[str, list[str]]) -> Iterator[list[str]]:
    """Give circles of names, each from a name to what it waits for, and back to the first."""
    order = {name: number for number, name in enumerate(waits)}
    while True:
        try:
            TopologicalSorter(waits).prepare()
        except CycleError as error:
            backwards: list[str] = error.args[1]  # from what is waited for to what waits
            circle = backwards[:0:-1]
            start = circle.index(min(circle, key=order.__getitem__))
            yield [*circle[start:], *circle[:start], circle[start]]
            waits = {name: [] if name in circle else others for name, others in waits.items()}
        else:
            return
