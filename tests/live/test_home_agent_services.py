"""What home agents do beside bindings, live: discovery by anycast, instructions to mobile nodes, their names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import threading
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest
from lab import FAST, LIMIT, Cli, command_line, derived, mobile_node, needs_root
from veth import until

from testbed.bootstrap import agent_socket
from testbed.errors import TestbedError
from testbed.lab import Lab
from testbed.mip6 import dhaad, wire
from testbed.mip6.control import result_of
from testbed.mip6.home_agents_list import home_agents_anycast
from testbed.mip6.icmp_socket import IcmpSocket
from testbed.netlink import in_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.runtime.base import Room

pytestmark = [pytest.mark.live, needs_root]

LAB = "services"
HOME_PREFIX = IPv6Network("2001:db8:a::/64")
FIRST, SECOND = IPv6Address("2001:db8:a::1"), IPv6Address("2001:db8:a::2")
STATUS = wire.BindingStatus
_GUARD = ("nft", "-j", "list", "chain", "ip6", "mip6_guard", "input")


class Running:
    """The lab of this module: two home agents on one home link, the second preferred."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.lab = Lab(LAB, cli.state / LAB, cli.saved(LAB))
        self.home = self.lab.plan.subscribers["mn1"].home_address

    def room(self, node: str) -> Room:
        return self.lab.room(node)

    def ask(self, node: str, operation: str, **more: Any) -> dict[str, Any]:
        return asyncio.run(result_of(agent_socket(self.room(node)), {"op": operation, **more}, where=node))

    def trigger(self, *arguments: str) -> str:
        return str(self.cli("trigger", *arguments, "--lab", LAB, "--json").document["outcome"])

    def bindings(self, node: str) -> dict[str, dict[str, Any]]:
        return {entry["home_address"]: entry for entry in self.ask(node, "status")["bindings"]}

    def sequence(self, node: str) -> int:
        return int(self.bindings(node)[str(self.home)]["sequence"])

    def journal(self, node: str, event: str) -> list[dict[str, Any]]:
        agent = "mobile-node" if node == "mn1" else "home-agent"
        lines = (self.room(node).lab / "log" / f"{agent}.log").read_text().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [entry for entry in told if entry["event"] == event]

    @property
    def name_server(self) -> IPv6Address:
        return self.lab.plan.hosts["ns1"].address

    def addresses(self, name: str = "mn1.carrier.example") -> list[str]:
        """Ask the DNS."""
        query = dns.message.make_query(name, "AAAA")
        with in_namespace(self.room("cn1").init.pid):
            answer = dns.query.udp(query, str(self.name_server), timeout=LIMIT)
        return [str(record) for rrset in answer.answer for record in rrset]

    def registered_with(self, node: str) -> bool:
        agent = self.lab.plan.home_agent_address(self.lab.plan.hosts[node])
        told = self.ask("mn1", "status")
        return bool(told["state"] == "registered" and told["home_agent"] == str(agent))

    def settled(self, node: str) -> None:
        """Wait until mn1 is registered with a home agent, at both ends and nowhere else, and can be reached."""
        until(lambda: self.registered_with(node))
        until(lambda: str(self.home) in self.bindings(node))
        others = {"ha1", "ha2"} - {node}
        until(lambda: not any(self.bindings(other) for other in others))
        assert self.cli("status", "--lab", LAB, "--json").document["sound"] is True
        self.cli("exec", "cn1", "--lab", LAB, "--", "ping", "-6", "-n", "-c", "1", "-w", "10", str(self.home))

    def inject(self, message: wire.Message, agent: IPv6Address) -> None:
        """Have mn1's node send a message through its tunnel."""
        with in_namespace(self.room("mn1").init.pid):
            sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.MOBILITY)
        with sender:
            sender.bind((str(self.home), 0))
            sender.sendto(wire.encode(message, self.home, agent), (str(agent), 0))

    def asked(self) -> list[int]:
        return [entry["identifier"] for entry in self.journal("mn1", "mobile prefix solicitation")]

    def solicited(self) -> list[dict[str, Any]]:
        return [entry for entry in self.journal("mn1", "mobile prefix advertisement") if entry["solicited"]]

    @contextlib.contextmanager
    def advertised(self, options: str) -> Iterator[None]:
        """Have ha2's radvd say more of its prefix for a while."""
        path = self.room("ha2").lab / "etc" / "radvd" / "radvd.conf"
        before = path.read_text()
        again = ("exec", "ha2", "--lab", LAB, "--", "sh", "-c", "kill -HUP $(cat /run/lab/var/radvd/radvd.pid)")
        path.write_text(before.replace("AdvRouterAddr on;", f"AdvRouterAddr on; {options}"))
        self.cli(*again)
        try:
            yield
        finally:
            path.write_text(before)
            self.cli(*again)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Have mn1's agent do nothing for a while."""
        pids = [pid for pid, line in self.cli.processes().items() if "testbed.mip6.mobile_node" in line]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with command_line() as cli:
        cli("up", "two-home-agents", "--lab", LAB, *FAST)
        yield Running(cli)


@pytest.fixture
def at_second(running: Running) -> Running:
    """Have mn1 registered with ha2 before the test."""
    if not running.registered_with("ha2"):
        running.cli("bootstrap", "mn1", "--lab", LAB)
    running.settled("ha2")
    return running


def test_a_mobile_node_finds_the_preferred_home_agent_by_anycast(at_second: Running) -> None:
    step = next(entry for entry in at_second.journal("mn1", "step") if entry["step"] == "discovery")
    assert step["home_agents"] == [str(SECOND), str(FIRST)]
    asked = [e for node in ("ha1", "ha2") for e in at_second.journal(node, "home agent discovery")]
    care_of = at_second.ask("mn1", "status")["care_of_address"]
    assert care_of in {entry["source"] for entry in asked}


@pytest.mark.parametrize(
    ("node", "own", "other"), [("ha1", (FIRST, 10), (SECOND, 20)), ("ha2", (SECOND, 20), (FIRST, 10))]
)
def test_home_agents_know_each_other(
    running: Running, node: str, own: tuple[IPv6Address, int], other: tuple[IPv6Address, int]
) -> None:
    known = running.ask(node, "home-agents")["home_agents"]
    assert [(entry["addresses"], entry["preference"]) for entry in known] == [
        ([str(address)], preference) for address, preference in (own, other)
    ]
    assert known[0]["remaining"] is None
    assert 0 < known[1]["remaining"] <= 1800


def test_whoever_asks_gets_the_list_in_order(running: Running) -> None:
    asker = running.lab.plan.hosts["cn1"].address
    with in_namespace(running.room("cn1").init.pid):
        found = asyncio.run(dhaad.discover(HOME_PREFIX, asker, random.SystemRandom()))
    assert [agent.address for agent in found] == [SECOND, FIRST]


def test_a_reply_comes_from_a_home_agent_and_echoes_the_identifier(running: Running) -> None:
    asker = running.lab.plan.hosts["cn1"].address

    async def ask() -> list[tuple[wire.IcmpMessage, IPv6Address, IPv6Address]]:
        heard: asyncio.Queue[tuple[wire.IcmpMessage, IPv6Address, IPv6Address]] = asyncio.Queue()
        with IcmpSocket((wire.IcmpType.HOME_AGENT_DISCOVERY_REPLY,), lambda *told: heard.put_nowait(told)) as link:
            # one that is sent to a home agent's own address gets no answer (RFC 6275 section 10.5.1)
            link.send(wire.HomeAgentDiscoveryRequest(1), asker, FIRST)
            link.send(wire.HomeAgentDiscoveryRequest(65535), asker, home_agents_anycast(HOME_PREFIX))
            async with asyncio.timeout(LIMIT):
                return [await heard.get()]

    with in_namespace(running.room("cn1").init.pid):
        ((reply, source, destination),) = asyncio.run(ask())
    assert reply == wire.HomeAgentDiscoveryReply(65535, (SECOND, FIRST))
    assert source in (FIRST, SECOND)
    assert destination == asker


def test_a_mobile_node_refreshes_when_asked_to(at_second: Running) -> None:
    before = at_second.sequence("ha2")
    assert at_second.trigger("ha2", "refresh", "mn1") == "asked"
    until(lambda: at_second.sequence("ha2") == (before + 1) & 0xFFFF)
    at_second.settled("ha2")


def test_a_revocation_is_acknowledged_and_the_mobile_node_bootstraps_again(at_second: Running) -> None:
    before = len(at_second.journal("mn1", "recovered"))
    assert at_second.trigger("ha2", "revoke", "mn1") == "acknowledged with status 0"
    until(lambda: len(at_second.journal("mn1", "recovered")) > before)
    assert at_second.journal("ha2", "released")[-1]["reason"] == "the operator revoked it"
    assert at_second.journal("mn1", "binding revocation indication")[-1]["trigger"] == 1
    at_second.settled("ha2")


def test_a_binding_of_a_silent_mobile_node_is_revoked_all_the_same(at_second: Running) -> None:
    with at_second.silent():
        assert at_second.trigger("ha2", "revoke", "mn1") == "not acknowledged"
        assert at_second.bindings("ha2") == {}
        attempts = [e["attempt"] for e in at_second.journal("ha2", "binding revocation indication")]
        assert attempts[-2:] == [1, 2]
    before = len(at_second.journal("mn1", "recovered"))
    until(lambda: len(at_second.journal("mn1", "recovered")) > before)
    at_second.settled("ha2")


def test_a_mobile_node_switches_to_the_other_home_agent_and_back(at_second: Running) -> None:
    assert at_second.trigger("ha2", "switch", "mn1") == "the mobile node deleted its binding"
    at_second.settled("ha1")
    assert at_second.journal("mn1", "home agent switch")[-1]["home_agents"] == [str(FIRST)]
    assert at_second.trigger("ha1", "switch", "mn1", "--home-agents", "ha2") == "the mobile node deleted its binding"
    at_second.settled("ha2")


def test_home_agents_that_are_named_are_tried_in_order(at_second: Running) -> None:
    nowhere = "2001:db8:a::77"
    outcome = at_second.ask("ha2", "switch", home_address=str(at_second.home), to=[str(FIRST), nowhere])
    assert outcome == {"outcome": "the mobile node deleted its binding"}
    at_second.settled("ha1")


def test_without_a_named_home_agent_it_discovers_one(at_second: Running) -> None:
    before = len(at_second.journal("mn1", "recovered"))
    assert at_second.trigger("ha2", "switch", "mn1", "--home-agents") == "the mobile node deleted its binding"
    until(lambda: len(at_second.journal("mn1", "recovered")) > before)
    at_second.settled("ha2")


def test_a_switch_is_repeated_and_the_binding_not_extended_meanwhile(at_second: Running) -> None:
    home, done = str(at_second.home), []
    before, number = len(at_second.journal("ha2", "home agent switch")), at_second.sequence("ha2")

    def attempts() -> list[dict[str, Any]]:
        return at_second.journal("ha2", "home agent switch")[before:]

    def refusals() -> list[Any]:
        return [entry["status"] for entry in at_second.journal("ha2", "binding acknowledgement")[-1:]]

    with at_second.silent():
        asking = threading.Thread(target=lambda: done.append(at_second.ask("ha2", "switch", home_address=home)))
        asking.start()
        until(lambda: len(attempts()) == 1)
        flags = wire.BindingFlags.A | wire.BindingFlags.H
        care_of = IPv6Address(at_second.bindings("ha2")[home]["care_of_address"])
        refresh = wire.BindingUpdate((number + 1) & 0xFFFF, flags, 15, (wire.AlternateCareOfAddress(care_of),))
        at_second.inject(refresh, SECOND)
        until(lambda: refusals() == [STATUS.ADMINISTRATIVELY_PROHIBITED])
        assert home in at_second.bindings("ha2")
        until(lambda: len(attempts()) >= 2)
        first, second = attempts()
        assert second["time"] - first["time"] == pytest.approx(5.0, abs=0.5)
    asking.join(LIMIT)
    assert done == [{"outcome": "the mobile node deleted its binding"}]
    at_second.settled("ha1")


def test_the_home_address_is_in_the_dns_as_long_as_it_is_bound(at_second: Running) -> None:
    assert at_second.ask("mn1", "status")["dns_status"] == 0
    assert at_second.addresses() == [str(at_second.home)]
    at_second.cli("deregister", "mn1", "--lab", LAB)
    assert at_second.addresses() == []
    assert at_second.journal("ha2", "dns update")[-1]["remove"] is True
    at_second.cli("bootstrap", "mn1", "--lab", LAB)
    assert at_second.addresses() == [str(at_second.home)]


def test_the_name_goes_with_a_binding_that_is_revoked(at_second: Running) -> None:
    with at_second.silent():
        at_second.trigger("ha2", "revoke", "mn1")
        until(lambda: at_second.addresses() == [])
    until(lambda: at_second.addresses() == [str(at_second.home)])
    at_second.settled("ha2")


def test_the_name_goes_along_to_another_home_agent(at_second: Running) -> None:
    at_second.trigger("ha2", "switch", "mn1")
    at_second.settled("ha1")
    assert at_second.addresses() == [str(at_second.home)]
    assert at_second.journal("ha1", "dns update")[-1]["status"] == "PERFORMED"


def test_the_name_stays_when_the_mobile_node_comes_home(at_second: Running) -> None:
    at_second.cli("move", "mn1", "home", "--lab", LAB)
    assert at_second.bindings("ha2") == {}
    assert at_second.addresses() == [str(at_second.home)]
    at_second.cli("move", "mn1", "access1", "--lab", LAB)
    assert at_second.addresses() == [str(at_second.home)]
    at_second.settled("ha2")


@pytest.mark.parametrize("name", ["ha1.carrier.example", "mn2.carrier.example", "mn1.carrier.example.org"])
def test_another_name_is_refused(at_second: Running, name: str) -> None:
    flags, number = wire.BindingFlags.A | wire.BindingFlags.H, at_second.sequence("ha2")
    care_of = IPv6Address(at_second.bindings("ha2")[str(at_second.home)]["care_of_address"])
    options = (wire.AlternateCareOfAddress(care_of), wire.DnsUpdate(name))
    before = at_second.addresses("ha1.carrier.example")
    at_second.inject(wire.BindingUpdate((number + 1) & 0xFFFF, flags, 150, options), SECOND)
    told = (name, wire.DnsStatus.ADMINISTRATIVELY_PROHIBITED)
    until(lambda: told in [(entry["name"], entry["status"]) for entry in at_second.journal("mn1", "dns update")])
    assert at_second.addresses("ha1.carrier.example") == before
    assert at_second.addresses("mn2.carrier.example") == []
    assert at_second.addresses() == [str(at_second.home)]
    at_second.cli("bootstrap", "mn1", "--lab", LAB)  # its own sequence numbers are behind


@pytest.mark.parametrize("key", [None, "AAAAAAAAAAAAAAAAAAAAAA=="], ids=["unsigned", "wrong-key"])
def test_the_name_server_takes_no_update_from_others(at_second: Running, key: str | None) -> None:
    keyring = dns.tsig.Key("ha2.carrier.example", key, dns.tsig.HMAC_SHA256) if key else None
    update = dns.update.UpdateMessage("carrier.example", keyring=keyring)
    update.replace("mn1", 60, "AAAA", "2001:db8:1::bad")
    with in_namespace(at_second.room("cn1").init.pid):
        try:
            answer = dns.query.udp(update, str(at_second.name_server), timeout=LIMIT)
        except dns.tsig.PeerError:
            assert key
        else:
            assert answer.rcode() == dns.rcode.REFUSED
    assert at_second.addresses() == [str(at_second.home)]


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("ha1", "AAAA", "2001:db8::bad"), ("mn2", "AAAA", "2001:db8::bad"), ("mn1", "TXT", "bad")],
)
def test_a_home_agent_may_write_the_addresses_of_its_mobile_nodes_only(
    running: Running, name: str, kind: str, value: str
) -> None:
    plan = running.lab.plan
    key = dns.tsig.Key("ha2.carrier.example", plan.tsig_key(plan.hosts["ha2"]).reveal(), dns.tsig.HMAC_SHA256)
    update = dns.update.UpdateMessage("carrier.example", keyring=key)
    update.replace(name, 60, kind, value)
    with in_namespace(running.room("ha2").init.pid):
        answer = dns.query.udp(update, str(running.name_server), timeout=LIMIT)
    assert answer.rcode() == dns.rcode.REFUSED


def test_keys_of_dns_updates_stand_in_private_files_only(running: Running) -> None:
    keys = {running.lab.plan.tsig_key(running.lab.plan.hosts[node]).reveal().encode() for node in ("ha1", "ha2")}
    holders = set()
    for path in (running.lab.folder / "nodes").rglob("*"):
        if path.is_file() and any(key in path.read_bytes() for key in keys):
            assert path.stat().st_mode & 0o077 == 0
            holders.add(path.name)
    assert holders == {"named.conf", "home-agent.json"}


def test_a_mobile_node_asks_for_the_prefixes_of_its_home_link(at_second: Running) -> None:
    at_second.cli("bootstrap", "mn1", "--lab", LAB)
    until(lambda: at_second.journal("mn1", "mobile prefix advertisement")[-1:])
    until(lambda: at_second.solicited()[-1]["identifier"] == at_second.asked()[-1])
    advertised = at_second.journal("ha2", "mobile prefix advertisement")[-1]
    assert advertised["identifier"] == at_second.asked()[-1]
    ((prefix, valid, preferred),) = (entry.split() for entry in advertised["prefixes"])
    assert prefix == f"{SECOND}/64"
    assert int(valid) == pytest.approx(86400, abs=20)
    assert int(preferred) == pytest.approx(14400, abs=20)


def test_a_change_of_the_home_prefix_is_told_and_limits_bindings(at_second: Running) -> None:
    number = len(at_second.journal("mn1", "mobile prefix advertisement"))
    with at_second.advertised("AdvValidLifetime 500; AdvPreferredLifetime 200;"):
        until(lambda: len(at_second.journal("mn1", "mobile prefix advertisement")) >= number + 2)
        unsolicited, solicited = at_second.journal("mn1", "mobile prefix advertisement")[number:][:2]
        assert (unsolicited["identifier"], unsolicited["solicited"]) == (0, False)
        assert solicited["solicited"] is True
        assert solicited["ask_again"] == pytest.approx(150, abs=10)
        number = len(at_second.solicited())
        before = at_second.sequence("ha2")
        at_second.trigger("ha2", "refresh", "mn1")
        until(lambda: at_second.sequence("ha2") == (before + 1) & 0xFFFF)
        told = at_second.journal("ha2", "binding acknowledgement")[-1]
        assert told["status"] == STATUS.ACCEPTED_PREFIX_DISCOVERY_NECESSARY
        assert 400 <= told["lifetime"] <= 500
        # so it has to ask before it may refresh again (RFC 6275 section 11.7.1)
        until(lambda: len(at_second.solicited()) > number)
        at_second.trigger("ha2", "refresh", "mn1")
        until(lambda: at_second.sequence("ha2") == (before + 2) & 0xFFFF)
    until(lambda: at_second.solicited()[-1]["ask_again"] > 10000)
    at_second.settled("ha2")


def test_a_home_address_of_a_prefix_that_is_no_longer_valid_is_given_up(at_second: Running) -> None:
    with at_second.advertised("AdvValidLifetime 0; AdvPreferredLifetime 0;"):
        until(lambda: at_second.bindings("ha2") == {})
        until(lambda: at_second.journal("mn1", "recovery failed"))
        assert at_second.journal("ha2", "binding acknowledgement")[-1]["status"] == STATUS.NOT_HOME_SUBNET
    until(lambda: at_second.registered_with("ha2"))
    at_second.settled("ha2")


def test_a_solicitation_in_clear_is_refused(at_second: Running) -> None:
    def refused() -> int:
        chain = json.loads(at_second.cli("exec", "ha2", "--lab", LAB, "--", *_GUARD).out)
        rules = [entry["rule"] for entry in chain["nftables"] if "rule" in entry]
        rule = next(rule for rule in rules if rule.get("comment") == "mobile prefix solicitation in clear")
        return int(next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part))

    before, told = refused(), len(at_second.journal("ha2", "mobile prefix advertisement"))
    octets = wire.encode_icmp(wire.MobilePrefixSolicitation(7), at_second.home, SECOND)
    with in_namespace(at_second.room("cn1").init.pid):
        sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sender:
        sender.sendto(wire.build(at_second.home, SECOND, wire.ICMPV6, octets), (str(SECOND), 0))
    until(lambda: refused() == before + 1)
    assert len(at_second.journal("ha2", "mobile prefix advertisement")) == told


def test_home_addresses_for_who_comes_first(tmp_path: Path) -> None:
    def change(topology: dict[str, Any]) -> None:
        topology["mobile_nodes"]["mn2"] = mobile_node("mn2", attach="access2")
        topology["mobile_nodes"]["mn3"] = mobile_node("mn3")
        for node in ("mn1", "mn2"):
            topology["mobile_nodes"][node]["home_address"] = "first-come"

    path = derived(tmp_path / "first-come.yaml", change)
    with command_line() as cli:
        up = cli("up", path, "--lab", "first", *FAST, "--json").document
        plan = Lab("first", cli.state / "first", cli.saved("first")).plan
        pool = plan.first_come(plan.hosts["ha1"])
        assert pool
        homes = {entry["node"]: IPv6Address(entry["home_address"]) for entry in up["bootstrapped"]}
        assert homes["mn1"] in pool
        assert homes["mn2"] in pool
        assert homes["mn1"] != homes["mn2"]
        assert homes["mn3"] == plan.subscribers["mn3"].home_address
        again = cli("bootstrap", "--lab", "first", "--json").document
        assert {entry["node"]: IPv6Address(entry["home_address"]) for entry in again} == homes
        assert cli("status", "--lab", "first", "--json").document["sound"] is True


def test_what_cannot_be_triggered_is_said(at_second: Running) -> None:
    said = at_second.cli("trigger", "ha1", "revoke", "mn1", "--lab", LAB, status=1).err
    assert "mn1 has no binding at ha1" in said
    assert "home agents: ha1, ha2" in at_second.cli("trigger", "cn1", "revoke", "mn1", "--lab", LAB, status=1).err
    assert "mobile nodes: mn1" in at_second.cli("trigger", "ha2", "revoke", "cn1", "--lab", LAB, status=1).err
    assert (
        "--home-agents"
        in at_second.cli("trigger", "ha2", "revoke", "mn1", "--home-agents", "ha1", "--lab", LAB, status=2).err
    )
    with pytest.raises(TestbedError, match="no address of a home agent"):
        at_second.ask("ha2", "switch", home_address=str(at_second.home), to=["ha1"])
