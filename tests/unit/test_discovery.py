"""Home agents in the DNS: the order of SRV records, and a small DNS server on ::1 that answers as told."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.IN.SRV
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import chance, wait_for

from testbed.mip6 import discovery
from testbed.mip6.discovery import DiscoveryError, HomeAgent, by_name, by_service, ordered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUESTION = "_mip6._ipv6.carrier.example."
HA1, HA2 = "ha1.carrier.example.", "ha2.carrier.example."
ONE, TWO = IPv6Address("2001:db8:a::1"), IPv6Address("2001:db8:a::2")
HERE = IPv6Address("::1")
DRAWS = 4000

Zone = dict[tuple[str, str], list[str]]
Answer = dns.message.Message | None


def srv(priority: int, weight: int, target: str = HA1) -> dns.rdtypes.IN.SRV.SRV:
    record = dns.rdata.from_text("IN", "SRV", f"{priority} {weight} 0 {target}")
    assert isinstance(record, dns.rdtypes.IN.SRV.SRV)
    return record


def test_priorities_are_strict() -> None:
    records = [srv(20, 1000, "c."), srv(10, 0, "a."), srv(10, 5, "b.")]
    for seed in range(200):
        assert [r.priority for r in ordered(records, chance(seed))] == [10, 10, 20]


def test_weights_are_proportions() -> None:
    """RFC 2782: among records of one priority, the chance to be first is proportional to the weight."""
    records = [srv(0, weight, f"w{weight}.") for weight in (10, 20, 70)]
    rng = chance(2782)
    first = Counter(ordered(records, rng)[0].weight for _ in range(DRAWS))
    for weight in (10, 20, 70):
        # the draw is from 0 to 100, both included: the smallest weight, which stands first, gets 1/101 more
        assert first[weight] / DRAWS == pytest.approx(weight / 100, abs=0.03)


def test_weights_count_again_among_those_left() -> None:
    records = [srv(0, weight, f"w{weight}.") for weight in (30, 30, 40)]
    rng = chance(7)
    second = Counter(ordered(records, rng)[1].weight for _ in range(DRAWS) if rng.random() >= 0)
    assert second[40] / DRAWS == pytest.approx(0.6 * 40 / 70, abs=0.03)


def test_weight_0_has_a_small_chance_beside_others_and_all_alone() -> None:
    rng = chance(0)
    beside = Counter(ordered([srv(0, 9, "nine."), srv(0, 0, "none.")], rng)[0].weight for _ in range(DRAWS))
    assert 0 < beside[0] / DRAWS < 0.2
    assert [r.weight for r in ordered([srv(0, 0), srv(0, 0, HA2)], rng)] == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535)), max_size=8), st.integers())
@settings(deadline=None)
def test_an_order_is_a_permutation(fields: list[tuple[int, int]], seed: int) -> None:
    records = [srv(priority, weight, f"h{number}.") for number, (priority, weight) in enumerate(fields)]
    found = ordered(records, chance(seed))
    assert sorted(r.target.to_text() for r in found) == sorted(r.target.to_text() for r in records)
    assert [r.priority for r in found] == sorted(priority for priority, _ in fields)
    assert found == ordered(records, chance(seed))


class Server(asyncio.DatagramProtocol):
    """Answers each query by a function, or not at all where that gives nothing."""

    def __init__(self, answer: Callable[[dns.message.Message], Answer | bytes]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        answer = self.answer(query)
        if answer:
            self.transport.sendto(answer if isinstance(answer, bytes) else answer.to_wire(), addr)


def zone(records: Zone, additional: Zone | None = None) -> Callable[[dns.message.Message], Answer]:
    """Answer from records by name and type; NXDOMAIN where a name has none at all."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        if (name, kind) in records:
            response.answer.append(dns.rrset.from_text_list(question.name, 300, "IN", kind, records[name, kind]))
            for (other, type_), texts in (additional or {}).items():
                response.additional.append(dns.rrset.from_text_list(other, 300, "IN", type_, texts))
        elif name not in {known for known, _ in records}:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    return answer


def refuse(code: dns.rcode.Rcode) -> Callable[[dns.message.Message], Answer]:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response

    return answer


def silent(_: dns.message.Message) -> None:
    return None


def keep(server: Server) -> Server:
    return server


def asking(
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, Callable[[dns.message.Message], Answer | bytes]],
    ask: Callable[[list[IPv6Address]], Awaitable[list[HomeAgent]]],
    by_tcp: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
) -> tuple[list[HomeAgent] | DiscoveryError, list[Server]]:
    """Ask servers, by a name each in place of its address; all are on ::1, each on a port of its own."""
    servers = [Server(answer) for answer in answers.values()]
    addresses = [IPv6Address(address) for address in answers]
    original = dns.asyncquery.udp_with_fallback
    monkeypatch.setattr(discovery, "_FIRST_TIMEOUT", 0.05)

    async def scenario() -> list[HomeAgent] | DiscoveryError:
        loop = asyncio.get_running_loop()
        ports = {}
        for address, server in zip(answers, servers, strict=True):
            transport, _ = await loop.create_datagram_endpoint(partial(keep, server), local_addr=("::1", 0))
            ports[address] = transport.get_extra_info("sockname")[1]

        async def udp(query: dns.message.Message, where: str, **settings: Any) -> tuple[dns.message.Message, bool]:
            return await original(query, "::1", port=ports[where], **settings)

        monkeypatch.setattr(dns.asyncquery, "udp_with_fallback", udp)
        try:
            if by_tcp:
                async with await asyncio.start_server(by_tcp, "::1", ports[next(iter(answers))]):
                    return await ask(addresses)
            return await ask(addresses)
        except DiscoveryError as error:
            return error
        finally:
            for server in servers:
                server.transport.close()

    return wait_for(scenario()), servers


def service(servers: list[IPv6Address]) -> Awaitable[list[HomeAgent]]:
    return by_service("carrier.example", servers, chance(1))


def host(servers: list[IPv6Address]) -> Awaitable[list[HomeAgent]]:
    return by_name("ha1.carrier.example", servers)


RECORDS: Zone = {
    (QUESTION, "SRV"): [f"0 10 0 {HA2}", f"5 10 0 {HA1}"],
    (HA1, "AAAA"): [str(ONE)],
    (HA2, "AAAA"): [str(TWO)],
}
AGENTS = [HomeAgent("ha2.carrier.example", TWO), HomeAgent("ha1.carrier.example", ONE)]


def test_by_service_with_addresses_in_the_additional_section(monkeypatch: pytest.MonkeyPatch) -> None:
    additional = {key: value for key, value in RECORDS.items() if key[1] == "AAAA"}
    found, [server] = asking(monkeypatch, {"::a": zone(RECORDS, additional)}, service)
    assert found == AGENTS
    assert server.asked == [f"{QUESTION} SRV"]  # one round trip: RFC 5026 section 5.1.2


def test_by_service_without_an_additional_section(monkeypatch: pytest.MonkeyPatch) -> None:
    found, [server] = asking(monkeypatch, {"::a": zone(RECORDS)}, service)
    assert found == AGENTS
    assert server.asked == [f"{QUESTION} SRV", f"{HA2} AAAA", f"{HA1} AAAA"]


def test_by_service_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {(QUESTION, "SRV"): [f"0 0 0 {HA1}"], (HA1, "AAAA"): [str(ONE), str(TWO)]}
    found, _ = asking(monkeypatch, {"::a": zone(records)}, service)
    assert isinstance(found, list)
    assert {agent.address for agent in found} == {ONE, TWO}


def test_a_target_of_the_root_says_that_there_is_no_such_service(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = asking(monkeypatch, {"::a": zone({(QUESTION, "SRV"): ["0 0 0 ."]})}, service)
    assert isinstance(found, DiscoveryError)
    assert found.message == "carrier.example has no SRV records for home agents"
    assert found.evidence[0] == "_mip6._ipv6.carrier.example: NOERROR"


@pytest.mark.parametrize(("ask", "message"), [(service, "has no SRV records"), (host, "has no address")])
def test_nxdomain(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[list[IPv6Address]], Awaitable[list[HomeAgent]]], message: str
) -> None:
    found, [server] = asking(monkeypatch, {"::a": zone({})}, ask)
    assert isinstance(found, DiscoveryError)
    assert message in found.message
    assert "NXDOMAIN" in found.evidence[0]
    assert len(server.asked) == 1  # an answer, so nobody asks again


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = asking(monkeypatch, {"::a": zone({(HA1, "TXT"): ["hello"]})}, host)
    assert isinstance(found, DiscoveryError)
    assert found.evidence == ("ha1.carrier.example: NOERROR",)


def test_a_home_agent_without_an_address_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {key: value for key, value in RECORDS.items() if key != (HA2, "AAAA")}
    found, _ = asking(monkeypatch, {"::a": zone(records)}, service)
    assert found == AGENTS[1:]


def test_no_home_agent_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = asking(monkeypatch, {"::a": zone({(QUESTION, "SRV"): RECORDS[QUESTION, "SRV"]})}, service)
    assert isinstance(found, DiscoveryError)
    assert found.message == "no home agent of carrier.example has an address"
    assert "ha1.carrier.example: NXDOMAIN" in found.evidence


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = asking(monkeypatch, {"::a": zone(RECORDS)}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_lame_server_then_a_good_one(monkeypatch: pytest.MonkeyPatch, code: dns.rcode.Rcode) -> None:
    found, [lame, good] = asking(monkeypatch, {"::a": refuse(code), "::b": zone(RECORDS)}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]
    assert (len(lame.asked), len(good.asked)) == (1, 1)


def test_a_silent_server_then_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found, [quiet, _] = asking(monkeypatch, {"::a": silent, "::b": zone(RECORDS)}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]
    assert len(quiet.asked) == 1


def test_a_server_that_answers_in_time_only_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([None, None])
    answer = zone(RECORDS)

    def late(query: dns.message.Message) -> Answer:
        return next(left, answer(query))

    found, [server] = asking(monkeypatch, {"::a": late}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]
    assert len(server.asked) == 3


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    found, [one, other] = asking(monkeypatch, {"::a": silent, "::b": refuse(dns.rcode.SERVFAIL)}, host)
    assert isinstance(found, DiscoveryError)
    assert found.message == "no DNS server answered for ha1.carrier.example AAAA"
    assert len(found.evidence) == len(one.asked) + len(other.asked) == 6
    assert found.evidence[0].startswith("::a: ")
    assert found.evidence[1] == "::b: SERVFAIL"


@pytest.mark.parametrize("noise", [b"x", b"\0" * 12, bytes(range(200))])
def test_a_server_that_sends_noise(monkeypatch: pytest.MonkeyPatch, noise: bytes) -> None:
    found, _ = asking(monkeypatch, {"::a": lambda _: noise, "::b": zone(RECORDS)}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]


def test_a_port_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def udp(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(dns.asyncquery, "udp_with_fallback", udp)
    with pytest.raises(DiscoveryError) as caught:
        wait_for(by_name("ha1.carrier.example", [HERE]))
    assert caught.value.evidence == ("::1: [Errno 101] Network is unreachable",) * 3


def test_no_server_is_known() -> None:
    with pytest.raises(DiscoveryError, match="no DNS server is known") as caught:
        wait_for(by_name("ha1.carrier.example", []))
    assert caught.value.hint


def truncated(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response


def test_an_answer_that_does_not_fit_is_asked_for_by_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = zone(RECORDS)(dns.message.from_wire(await reader.readexactly(length)))
        assert answer
        writer.write(answer.to_wire(prepend_length=True))
        writer.close()

    found, [server] = asking(monkeypatch, {"::a": truncated}, host, by_tcp)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]
    assert len(server.asked) == 1


def test_a_server_without_tcp_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = asking(monkeypatch, {"::a": truncated, "::b": zone(RECORDS)}, host)
    assert found == [HomeAgent("ha1.carrier.example", ONE)]
