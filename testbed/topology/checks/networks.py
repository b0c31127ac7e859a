"""Networks: prefixes that do not collide, the routers and servers that each kind needs, no islands."""

from __future__ import annotations

from ipaddress import IPv6Network
from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.model import CareOf, NetworkKind, Role, Service
from testbed.topology.words import joined, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts

_USABLE = (IPv6Network("2000::/3"), IPv6Network("fd00::/8"))  # RFC 4291 section 2.4, RFC 4193 section 3.1
_SPECIAL = (
    ("multicast", IPv6Network("ff00::/8")),
    ("link-local", IPv6Network("fe80::/10")),
    ("loopback", IPv6Network("::1/128")),
)
_NEITHER = "neither global unicast nor unique local"
_LENGTH = 64


def networks(facts: Facts) -> Iterator[Problem]:
    """Give the problems of networks."""
    return chain(_prefixes(facts), _access(facts), _home(facts), _connected(facts))


def _prefixes(facts: Facts) -> Iterator[Problem]:
    """Refuse prefixes that are no /64 of global or unique local unicast, or given twice."""
    owners: dict[IPv6Network, str] = {}
    for name, network in facts.topology.networks.items():
        prefix = network.prefix
        if prefix is None:
            continue
        place = ("networks", name, "prefix")
        what = f"prefix {prefix} of network '{name}'"
        if "%" in str(prefix):
            yield facts.marks.at_value(place, f"{what} has a zone", "leave out '%' and what follows it")
        elif not any(prefix.subnet_of(usable) for usable in _USABLE):
            kind = next((kind for kind, block in _SPECIAL if prefix.subnet_of(block)), _NEITHER)
            hint = "take a /64 from 2000::/3 or fd00::/8, or leave 'prefix' out to have one planned"
            yield facts.marks.at_value(place, f"{what} is {kind}", hint)
        elif prefix.prefixlen != _LENGTH:
            hint = "every network has a /64, so that addresses can be autoconfigured"
            yield facts.marks.at_value(place, f"{what} is not a /64", hint)
        elif owners.setdefault(prefix, name) != name:
            hint = "give each network a prefix of its own, or leave 'prefix' out to have one planned"
            yield facts.marks.at_value(place, f"{what} is also that of network '{owners[prefix]}'", hint)


def _access(facts: Facts) -> Iterator[Problem]:
    """Ask access networks for an operator that may give access, a router, and a source of addresses."""
    for name in facts.networks_of_kind(NetworkKind.ACCESS):
        yield from _operator(facts, name, Role.ASP)
        if facts.nobody_on(name, Service.ROUTER, Service.RADVD):
            message = f"access network '{name}' has no router that advertises itself"
            hint = "put a node with services: [router, radvd] on it"
            yield facts.marks.at_key(("networks", name), message, hint)
        stateful = facts.topology.networks[name].care_of is CareOf.DHCPV6
        if stateful and facts.nobody_on(name, Service.KEA):
            message = f"access network '{name}' gives out addresses by dhcpv6, but no node on it runs kea"
            hint = "add kea to the services of its router, or write care_of: slaac"
            yield facts.marks.at_value(("networks", name, "care_of"), message, hint)


def _home(facts: Facts) -> Iterator[Problem]:
    """Ask home networks for an operator that may run home agents, and for a home agent."""
    for name in facts.networks_of_kind(NetworkKind.HOME):
        yield from _operator(facts, name, Role.MSP)
        if facts.nobody_on(name, Service.HOME_AGENT):
            hint = f"put a node with services: [{facts.home_agent_services}] on it"
            yield facts.marks.at_key(("networks", name), f"home network '{name}' has no home agent", hint)


def _operator(facts: Facts, name: str, role: Role) -> Iterator[Problem]:
    """Ask for a network's operator to hold a role."""
    network = facts.topology.networks[name]
    holders = facts.topology.holders(role)
    if not holders:  # told once, of the topology as a whole
        return
    allowed = f"operators with the role '{role}': {listing(holders)}"
    if network.operator is None:
        yield facts.marks.at_key(("networks", name), f"{network.kind} network '{name}' has no operator", allowed)
    elif network.operator in facts.topology.operators and not facts.holds(network.operator, role):
        message = f"operator '{network.operator}' of {network.kind} network '{name}' lacks the role '{role}'"
        yield facts.marks.at_value(("networks", name, "operator"), message, allowed)


def _connected(facts: Facts) -> Iterator[Problem]:
    """Refuse networks whose nodes cannot reach the others, because no chain of routers leads there."""
    if not all(facts.networks_known(router) for router in facts.topology.nodes_with(Service.ROUTER)):
        return
    islands = _islands(facts)
    main = max(islands, key=len, default=[])
    for island in islands:
        if island is not main:
            what = f"network {joined(island)} is" if len(island) == 1 else f"networks {joined(island)} are"
            message = f"{what} cut off: no router leads to {joined(main)}"
            hint = "put a node with the service router on a network of each side"
            yield facts.marks.at_key(("networks", island[0]), message, hint)


def _islands(facts: Facts) -> list[list[str]]:
    """Return the networks that have nodes, grouped by whether routers join them, in the order of the file."""
    occupied = {name for node in facts.topology.nodes.values() for name in node.networks}
    island_of = {name: {name} for name in facts.topology.networks if name in occupied}
    for router in facts.topology.nodes_with(Service.ROUTER):
        around = [name for name in facts.topology.nodes[router].networks if name in island_of]
        merged = set().union(*(island_of[name] for name in around))
        island_of.update(dict.fromkeys(merged, merged))
    islands: dict[int, list[str]] = {}
    for name, island in island_of.items():
        islands.setdefault(id(island), []).append(name)
    return list(islands.values())
