"""Finding home agents in the DNS: by service name, by host name (RFC 5026 section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import groupby
from typing import TYPE_CHECKING

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV

from testbed.errors import TestbedError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

_TRIES = 3  # RFC 1035 section 7.2 leaves number and interval to the resolver
_FIRST_TIMEOUT = 1.0


class DiscoveryError(TestbedError):
    """No home agent was found; the evidence is what the servers said."""


@dataclass(frozen=True)
class HomeAgent:
    """A home agent to try: the name that its certificate must have, and its address."""

    name: str
    address: IPv6Address


async def by_service(domain: str, servers: Sequence[IPv6Address], rng: random.Random) -> list[HomeAgent]:
    """Find the home agents of a domain by SRV records, in the order to try them (RFC 2782).

    Raises:
        DiscoveryError: there are none, or no server answered.
    """
    question = f"_mip6._ipv6.{domain}"
    answer = await _ask(question, dns.rdatatype.SRV, servers)
    records = [record for record in _records(answer, question) if isinstance(record, dns.rdtypes.IN.SRV.SRV)]
    if not records or records[0].target == dns.name.root:
        raise DiscoveryError(f"{domain} has no SRV records for home agents", evidence=_said(question, answer))
    agents: list[HomeAgent] = []
    failures: list[str] = []
    for record in ordered(records, rng):
        name = record.target.to_text(omit_final_dot=True)
        addresses = _addresses(answer, record.target)  # additional section: RFC 5026 section 5.1.2
        if not addresses:
            try:
                addresses = [agent.address for agent in await by_name(name, servers)]
            except DiscoveryError as error:
                failures += [error.message, *error.evidence]
        agents.extend(HomeAgent(name, address) for address in addresses)
    if not agents:
        raise DiscoveryError(f"no home agent of {domain} has an address", evidence=tuple(failures))
    return agents


async def by_name(name: str, servers: Sequence[IPv6Address]) -> list[HomeAgent]:
    """Find a home agent by the AAAA records of its name (RFC 5026 section 5.1.1).

    Raises:
        DiscoveryError: it has none, or no server answered.
    """
    answer = await _ask(name, dns.rdatatype.AAAA, servers)
    addresses = _addresses(answer, dns.name.from_text(name))
    if not addresses:
        raise DiscoveryError(f"{name} has no address", evidence=_said(name, answer))
    return [HomeAgent(name, address) for address in addresses]


def ordered(records: Iterable[dns.rdtypes.IN.SRV.SRV], rng: random.Random) -> list[dns.rdtypes.IN.SRV.SRV]:
    """Order SRV records: by priority, among equals by chance in proportion to their weights (RFC 2782)."""
    chosen: list[dns.rdtypes.IN.SRV.SRV] = []
    by_priority = sorted(records, key=lambda record: (record.priority, record.weight))
    for _, group in groupby(by_priority, key=lambda record: record.priority):
        left = list(group)  # weight 0 first, as RFC 2782 has it
        while left:
            draw = rng.randint(0, sum(record.weight for record in left))
            running = 0
            for record in left:
                running += record.weight
                if running >= draw:
                    break
            chosen.append(record)
            left.remove(record)
    return chosen


async def _ask(name: str, kind: dns.rdatatype.RdataType, servers: Sequence[IPv6Address]) -> dns.message.Message:
    if not servers:
        raise DiscoveryError("no DNS server is known", hint="neither the router nor DHCPv6 announced one")
    query = dns.message.make_query(name, kind, use_edns=True)
    tried: list[str] = []
    timeout = _FIRST_TIMEOUT
    for _ in range(_TRIES):
        for server in servers:
            try:
                # an answer that does not fit is asked for again by TCP: RFC 7766 section 5
                answer, _ = await dns.asyncquery.udp_with_fallback(
                    query, str(server), timeout=timeout, ignore_unexpected=True
                )
            except (dns.exception.DNSException, OSError) as error:
                tried.append(f"{server}: {error or type(error).__name__}")
                continue
            if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return answer
            tried.append(f"{server}: {dns.rcode.to_text(answer.rcode())}")
        timeout *= 2
    raise DiscoveryError(f"no DNS server answered for {name} {dns.rdatatype.to_text(kind)}", evidence=tuple(tried))


def _records(answer: dns.message.Message, name: str) -> Iterable[object]:
    wanted = dns.name.from_text(name)
    return [record for rrset in answer.answer if rrset.name == wanted for record in rrset]


def _addresses(answer: dns.message.Message, name: dns.name.Name) -> list[IPv6Address]:
    return [
        IPv6Address(record.address)
        for rrset in (*answer.answer, *answer.additional)
        if rrset.name == name
        for record in rrset
        if isinstance(record, dns.rdtypes.IN.AAAA.AAAA)
    ]


def _said(question: str, answer: dns.message.Message) -> tuple[str, ...]:
    said = dns.rcode.to_text(answer.rcode())
    return (f"{question}: {said}", *(str(rrset) for rrset in answer.answer))
