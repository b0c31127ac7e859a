"""Mobile nodes: a place to start, somebody who knows them, a home agent that they find, a sound password."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.checks.password_file import flaw
from testbed.topology.model import (
    Configured,
    Dhaad,
    DnsAaaa,
    DnsSrv,
    EapMschapv2,
    NetworkKind,
    Protection,
    Role,
    Service,
)
from testbed.topology.words import listing, nearest, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv6Network

    from testbed.errors import Problem
    from testbed.topology.checks.facts import Facts
    from testbed.topology.marks import Location


_METHODS = {  #: protection: the methods of credentials that it can use
    Protection.TUNNEL: ("eap-mschapv2",),
    Protection.AUTH_OPTION: ("mn-ha-key", "mn-aaa-key"),
    Protection.NONE: (),
}


def mobile_nodes(facts: Facts) -> Iterator[Problem]:
    """Give the problems of mobile nodes."""
    return chain(
        _attach(facts),
        _identities(facts),
        _realms(facts),
        _credentials(facts),
        _home_addresses(facts),
        _home_agents(facts),
        _passwords(facts),
    )


def _attach(facts: Facts) -> Iterator[Problem]:
    """Ask for a mobile node to start on an access network."""
    for name, mobile in facts.topology.mobile_nodes.items():
        network = facts.topology.networks.get(mobile.attach)
        if network is not None and network.kind is not NetworkKind.ACCESS:
            message = f"mobile node '{name}' attaches to '{mobile.attach}', which is a {network.kind} network"
            access = facts.networks_of_kind(NetworkKind.ACCESS)
            hint = f"access networks: {listing(access) if access else 'none'}"
            yield facts.marks.at_value(("mobile_nodes", name, "attach"), message, hint)


def _identities(facts: Facts) -> Iterator[Problem]:
    """Refuse an identity that two mobile nodes have."""
    owners: dict[str, str] = {}
    for name, mobile in facts.topology.mobile_nodes.items():
        owner = owners.setdefault(mobile.nai, name)
        if owner != name:
            message = f"mobile nodes '{owner}' and '{name}' have the same nai '{mobile.nai}'"
            hint = "give each an identity of its own"
            yield facts.marks.at_value(("mobile_nodes", name, "nai"), message, hint)


def _realms(facts: Facts) -> Iterator[Problem]:
    """Ask for the realm of a mobile node to be the domain of an operator that may authorize it."""
    allowed = facts.domains(Role.MSA)
    label = "domains of operators with the role 'msa'"
    if not allowed:  # told once, of the topology as a whole
        return
    for name, mobile in facts.topology.mobile_nodes.items():
        realm = mobile.nai.partition("@")[2]
        place = ("mobile_nodes", name, "nai")
        owner = facts.owner_of(realm, Role.MSA)
        if owner is None:
            message = f"mobile node '{name}': no operator has the domain '{realm}' of its nai"
            yield facts.marks.at_value(place, message, suggest(realm, allowed, label))
        elif not facts.holds(owner, Role.MSA):
            message = f"mobile node '{name}': operator '{owner}' of its realm '{realm}' lacks the role 'msa'"
            hint = f"{label}: {listing(allowed)}"
            yield facts.marks.at_value(place, message, hint)


def _credentials(facts: Facts) -> Iterator[Problem]:
    """Ask for a credential that the protection can use, for none where it uses none."""
    protection = facts.topology.protection
    usable = _METHODS.get(protection)
    if usable is None:  # told once, of the topology as a whole
        return
    for name, mobile in facts.topology.mobile_nodes.items():
        method = mobile.credential.method if mobile.credential else None
        if method is None and usable:
            hint = f"protection '{protection}' takes: {listing(f'{{method: {word}}}' for word in usable)}"
            yield facts.marks.at_key(("mobile_nodes", name), f"mobile node '{name}' has no 'credential'", hint)
        elif method is not None and method not in usable:
            message = f"mobile node '{name}' has a credential '{method}', which protection '{protection}' does not use"
            hint = f"it takes: {listing(usable)}" if usable else "it takes none: remove the credential"
            yield facts.marks.at_value(("mobile_nodes", name, "credential", "method"), message, hint)


def _home_addresses(facts: Facts) -> Iterator[Problem]:
    """Ask for a source of home addresses that the protection has: without IKE nothing assigns one."""
    protection = facts.topology.protection
    if protection not in _METHODS:
        return
    sources = ("aaa", "first-come") if protection is Protection.TUNNEL else ("static",)
    wanted = sources[0]
    for name, mobile in facts.topology.mobile_nodes.items():
        if mobile.home_address not in sources:
            why = "nothing assigns it one" if wanted == "static" else "IKE assigns it one"
            message = f"mobile node '{name}' has home_address '{mobile.home_address}', but with protection"
            place = ("mobile_nodes", name, "home_address")
            yield facts.marks.at_value(place, f"{message} '{protection}' {why}", f"write home_address: {wanted}")


def _home_agents(facts: Facts) -> Iterator[Problem]:
    """Ask for what a mobile node knows to lead to a home agent."""
    for name, mobile in facts.topology.mobile_nodes.items():
        place = ("mobile_nodes", name, "home_agent")
        who = f"mobile node '{name}'"
        match mobile.home_agent:
            case DnsSrv(domain=domain):
                yield from _by_service(facts, (*place, "domain"), who, domain)
            case DnsAaaa(name=host):
                yield from _by_host(facts, (*place, "name"), who, host)
            case Dhaad(prefix=prefix):
                yield from _by_anycast(facts, (*place, "prefix"), who, prefix)
            case Configured(node=node):
                yield from _configured(facts, (*place, "node"), who, node)


def _by_service(facts: Facts, place: Location, who: str, domain: str) -> Iterator[Problem]:
    """Ask for a domain whose operator runs home agents and the name server that tells of them."""
    owner = facts.owner_of(domain, Role.MSP)
    allowed = facts.domains(Role.MSP)
    label = "domains of operators with the role 'msp'"
    if not allowed:  # told once, of the topology as a whole
        return
    if owner is None:
        message = f"{who} looks for home agents in '{domain}', the domain of no operator"
        yield facts.marks.at_value(place, message, suggest(domain, allowed, label))
        return
    looks = f"{who} looks for home agents in '{domain}', but operator '{owner}'"
    if not facts.holds(owner, Role.MSP):
        hint = f"{label}: {listing(allowed)}"
        yield facts.marks.at_value(place, f"{looks} lacks the role 'msp'", hint)
        return
    if facts.lacks(owner, Service.HOME_AGENT):
        hint = f"add a node of this operator with services: [{facts.home_agent_services}]"
        yield facts.marks.at_value(place, f"{looks} has none", hint)
    if facts.lacks(owner, Service.BIND):
        hint = "add a node of this operator with services: [bind]"
        yield facts.marks.at_value(place, f"{looks} has no node with bind to answer", hint)


def _by_host(facts: Facts, place: Location, who: str, host: str) -> Iterator[Problem]:
    """Ask for the host name of a home agent whose operator runs a name server."""
    hosts = {}
    agents = facts.topology.nodes_with(Service.HOME_AGENT)
    for node in agents:
        operator = facts.operator_of(node)
        if operator is not None:
            hosts[f"{node}.{facts.topology.operators[operator].domain}"] = operator
    if host not in hosts and all(facts.operator_known(node) for node in agents):
        message = f"{who} looks up '{host}', which is the name of no home agent"
        yield facts.marks.at_value(place, message, suggest(host, hosts, "names of home agents"))
    elif host in hosts and facts.lacks(hosts[host], Service.BIND):
        message = f"{who} looks up '{host}', but operator '{hosts[host]}' has no node with bind to answer"
        yield facts.marks.at_value(place, message, "add a node of this operator with services: [bind]")


def _by_anycast(facts: Facts, place: Location, who: str, prefix: IPv6Network) -> Iterator[Problem]:
    """Ask for a prefix that is written at a home network."""
    homes = facts.networks_of_kind(NetworkKind.HOME)
    written = [str(known) for name in homes if (known := facts.topology.networks[name].prefix)]
    if str(prefix) not in written:
        message = f"{who} looks for home agents on '{prefix}', which is the prefix of no home network"
        hint = f"write it at the home network too: {homes[0]}: {{prefix: ...}}" if homes else ""
        if written:
            hint = f"prefixes of home networks: {listing(written)}"
        yield facts.marks.at_value(place, message, hint)


def _configured(facts: Facts, place: Location, who: str, node: str) -> Iterator[Problem]:
    """Ask for the name of a node that is a home agent."""
    agents = facts.topology.nodes_with(Service.HOME_AGENT)
    if node in agents:
        return
    everybody = f"home agents: {listing(agents) if agents else 'none'}"
    if node in facts.topology.nodes:
        message = f"{who} has '{node}' for its home agent, but that node does not run home-agent"
        yield facts.marks.at_value(place, message, everybody)
    else:
        message = f"{who} has '{node}' for its home agent, but there is no such node"
        yield facts.marks.at_value(place, message, nearest(node, agents) or everybody)


def _passwords(facts: Facts) -> Iterator[Problem]:
    """Refuse password files that are not beside the topology or hold no password."""
    for name, mobile in facts.topology.mobile_nodes.items():
        file = mobile.credential.password_file if isinstance(mobile.credential, EapMschapv2) else None
        found = flaw(file, facts.folder) if file is not None else None
        if found is not None:
            message, hint = found
            place = ("mobile_nodes", name, "credential", "password_file")
            yield facts.marks.at_value(place, f"password_file of mobile node '{name}' {message}", hint)
