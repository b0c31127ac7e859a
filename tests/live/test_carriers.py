"""Scenarios unprotected and auth-option, live: what goes over the wires without IPsec, and what the agents refuse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
from lab import FAST, LIMIT, PROJECT, Capture, Cli, command_line, needs_root
from veth import until

from testbed.bootstrap import agent_socket
from testbed.errors import WireError
from testbed.lab import Lab
from testbed.mip6 import wire
from testbed.mip6.control import result_of
from testbed.netlink import in_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.runtime.base import Room

pytestmark = [pytest.mark.live, needs_root]

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
LAB = "clear"
ROUTER, UPLINK = "ar1", "carrier"  # of mn1, and the home agent's interface towards it
_IPV6, _ICMPV6, _NONE, _UDP = 41, 58, 59, 17
_ECHO, _PACKET_TOO_BIG, _PARAMETER_PROBLEM = (128, 129), 2, 4
_NTP_SECOND = 1 << 32
MN_HA, MN_AAA = wire.AuthenticationSubtype.MN_HA, wire.AuthenticationSubtype.MN_AAA
STATUS = wire.BindingStatus


class Running:
    """A lab without IPsec."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli = cli
        self.folder = folder
        self.lab = Lab(LAB, cli.state / LAB, cli.saved(LAB))
        self.agent = self.lab.plan.home_agent_address(self.lab.plan.hosts["ha1"])
        self.correspondent = self.lab.plan.hosts["cn1"].address

    def room(self, node: str) -> Room:
        return self.lab.room(node)

    def run(self, node: str, *program: str, status: int | None = 0) -> str:
        return self.cli("exec", node, "--lab", LAB, "--", *program, status=status).out

    def ask(self, node: str, operation: str) -> dict[str, Any]:
        return asyncio.run(result_of(agent_socket(self.room(node)), {"op": operation}, where=node))

    def home(self, node: str = "mn1") -> IPv6Address:
        return self.lab.plan.subscribers[node].home_address

    def care_of(self, node: str = "mn1") -> IPv6Address:
        return IPv6Address(self.ask(node, "status")["care_of_address"])

    def bindings(self) -> dict[str, Any]:
        told = self.ask("ha1", "status")["bindings"]
        return {e["home_address"]: {k: v for k, v in e.items() if k != "remaining"} for e in told}

    def move(self, node: str, network: str) -> dict[str, Any]:
        moved: dict[str, Any] = self.cli("move", node, network, "--lab", LAB, "--json").document
        return moved

    def bootstrap(self, node: str = "mn1") -> None:
        """Have it registered from its own access network."""
        if self.ask(node, "status")["state"] != "registered" or node == "mn1":
            self.move(node, "access1" if node == "mn1" else "access2")
        if self.ask(node, "status")["state"] != "registered":
            self.cli("bootstrap", node, "--lab", LAB)

    def capture(self, node: str, interface: str) -> Capture:
        return Capture(self.room(node), interface, self.folder)

    def inject(self, node: str, packet: bytes) -> None:
        """Have a node send a packet, whatever its source."""
        with in_namespace(self.room(node).init.pid):
            sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with sender:
            sender.sendto(packet, (str(IPv6Address(packet[24:40])), 0))

    def update(self, *options: wire.Option, home: IPv6Address | None = None, lifetime: int = 15) -> wire.BindingUpdate:
        """A Binding Update for mn1 with the next sequence number."""
        known = self.bindings().get(str(home or self.home()))
        sequence = ((known["sequence"] if known else 0) + 1) & 0xFFFF
        flags = wire.BindingFlags.A | wire.BindingFlags.H
        return wire.BindingUpdate(sequence, flags, lifetime, options)

    def packet(self, update: wire.Message, source: IPv6Address, home: IPv6Address | None = None) -> bytes:
        """A message to the home agent with a Home Address option."""
        home = home or self.home()
        octets = wire.encode(update, home, self.agent)
        return wire.build(source, self.agent, wire.MOBILITY, octets, home_address_option=home)

    def settled(self) -> None:
        """See that the home agent has judged all that was sent until now: it answers a later message."""
        octets = _unknown_type(self.correspondent, self.agent)
        refused = self.ask("ha1", "status")["refused"]
        self.inject("cn1", wire.build(self.correspondent, self.agent, wire.MOBILITY, octets))
        until(lambda: self.ask("ha1", "status")["refused"] > refused)

    def counter(self, comment: str, node: str = "ha1") -> int:
        """How many packets a rule of the guard has seen."""
        ruleset = json.loads(self.run(node, "nft", "-j", "list", "ruleset"))["nftables"]
        rule = next(e["rule"] for e in ruleset if "rule" in e and e["rule"].get("comment") == comment)
        return int(next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part))


@contextlib.contextmanager
def running(scenario: str, folder: Path) -> Iterator[Running]:
    with command_line() as cli:
        cli("up", str(PROJECT / "topologies" / f"{scenario}.yaml"), "--lab", LAB, *FAST, "--json")
        yield Running(cli, folder)


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running("unprotected", tmp_path_factory.mktemp("unprotected")) as lab:
        yield lab


@pytest.fixture(scope="module")
def authenticated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running("auth-option", tmp_path_factory.mktemp("auth-option")) as lab:
        yield lab


# unprotected


def test_a_binding_without_protection_is_told_as_such(unprotected: Running) -> None:
    done = unprotected.cli("status", "--lab", LAB)
    assert "registered, unprotected" in done.out
    (entry,) = unprotected.cli("status", "--lab", LAB, "--json").document["bindings"]
    assert (entry["protection"], entry["state"], entry["disagreement"]) == ("none", "registered", "")
    assert not (unprotected.room("ha1").lab / "etc" / "strongswan").exists()


def test_payload_goes_through_the_home_agent_as_ipv6_in_ipv6(unprotected: Running) -> None:
    home, care_of = unprotected.home(), unprotected.care_of()
    with unprotected.capture(ROUTER, "access1") as capture:
        unprotected.run("cn1", "ping", "-6", "-n", "-c", "1", "-w", "5", str(home))
        unprotected.run(
            "mn1", "ping", "-6", "-n", "-c", "1", "-w", "5", "-I", str(home), str(unprotected.correspondent)
        )
        until(lambda: len(_tunnelled(capture.packets())) == 4)
        seen = _tunnelled(capture.stop())
    there, back = (unprotected.agent, care_of), (care_of, unprotected.agent)
    to_mobile, from_mobile = (unprotected.correspondent, home), (home, unprotected.correspondent)
    assert sorted(seen) == sorted([(*there, *to_mobile), (*back, *from_mobile)] * 2)


@pytest.mark.parametrize(("sender", "size"), [("cn1", "4000"), ("mn1", "4000"), ("cn1", "1412"), ("mn1", "1412")])
def test_what_is_too_big_for_the_tunnel_arrives_in_pieces(unprotected: Running, sender: str, size: str) -> None:
    target = unprotected.home() if sender == "cn1" else unprotected.correspondent
    source = ("-I", str(unprotected.home())) if sender == "mn1" else ()
    unprotected.run(sender, "ping", "-6", "-n", "-c", "1", "-W", "0.5", "-s", size, *source, str(target), status=None)
    unprotected.run(sender, "ping", "-6", "-n", "-c", "1", "-w", "5", "-s", size, *source, str(target))


def test_the_correspondent_is_told_the_mtu_of_the_tunnel(unprotected: Running) -> None:
    """RFC 2473 section 7.1: 40 octets less than the link's 1500."""
    ends = unprotected.correspondent, unprotected.home()
    with unprotected.capture("cn1", "internet") as capture:
        unprotected.inject("ar2", wire.build(*ends, _NONE, bytes(1421)))
        until(lambda: [p for p in capture.packets() if p[6] == _ICMPV6 and p[40] == _PACKET_TOO_BIG])
        (told,) = [p for p in capture.stop() if p[6] == _ICMPV6 and p[40] == _PACKET_TOO_BIG]
    assert int.from_bytes(told[44:48], "big") == 1460


def test_registration_on_the_wire_is_as_the_rfc_lays_it_out(unprotected: Running) -> None:
    with unprotected.capture(ROUTER, "access1") as capture:
        unprotected.cli("bootstrap", "mn1", "--lab", LAB)
        packets = [packet for packet in capture.stop() if _mobility(packet)]
    home, care_of, agent = unprotected.home(), unprotected.care_of(), unprotected.agent
    updates = [p for p in packets if p[6] == 60 and p[40 + 24 + 2] == wire.MobilityType.BINDING_UPDATE]
    answers = [p for p in packets if p[6] == 43]
    assert len(updates) == 2  # deletion and registration
    for packet in updates:
        assert (packet[8:24], packet[24:40]) == (care_of.packed, agent.packed)
        # RFC 6275 section 6.3: padded to 8n + 6, option type 201, length 16
        assert packet[40:64] == bytes((135, 2, 1, 2, 0, 0, 0xC9, 16)) + home.packed
        assert len(packet) == 96
    for packet in answers:
        assert (packet[8:24], packet[24:40]) == (agent.packed, care_of.packed)
        # section 6.4: length 2, type 2, one segment left
        assert packet[40:64] == bytes((135, 2, 2, 1, 0, 0, 0, 0)) + home.packed
    assert len(answers) == 2


@needs_tshark
def test_wireshark_reads_the_registration(unprotected: Running) -> None:
    with unprotected.capture(ROUTER, "access1") as capture:
        unprotected.cli("bootstrap", "mn1", "--lab", LAB)
        capture.stop()
    fields = ("ipv6.opt.mipv6.home_address", "ipv6.routing.mipv6.home_address", "mip6.mhtype", "mip6.ba.status")
    rows = _tshark(capture.path, "mipv6", *fields)
    home = str(unprotected.home())
    assert sorted(rows) == sorted([(home, "", "5", ""), ("", home, "6", "0")] * 2)
    assert _tshark(capture.path, "_ws.malformed || _ws.expert.severity == error", "frame.number") == []


def test_the_kernels_answer_nothing(unprotected: Running) -> None:
    """Neither the Home Address option nor the routing header brings about a Parameter Problem."""
    with (
        unprotected.capture("ha1", UPLINK) as at_agent,
        unprotected.capture("ha1", "home") as at_home,
        unprotected.capture("mn1", "eth0") as at_mobile,
    ):
        for network in ("access2", "home", "access1"):
            unprotected.move("mn1", network)
        seen = [capture.stop() for capture in (at_agent, at_home, at_mobile)]
    assert [packet for packets in seen for packet in packets if packet[6] == _ICMPV6 and packet[40] < 128] == []
    assert sum(bool(_mobility(packet)) for packets in seen for packet in packets) >= 6


def test_a_mobile_node_moves_and_comes_home(unprotected: Running) -> None:
    home = str(unprotected.home())
    away = unprotected.move("mn1", "access2")
    assert (away["home_address"], away["at_home"]) == (home, False)
    assert unprotected.bindings()[home]["care_of_address"] == away["care_of_address"]
    with unprotected.capture("ha1", "home") as capture:
        back = unprotected.move("mn1", "home")
        packets = capture.stop()
    assert (back["home_address"], back["at_home"]) == (home, True)
    assert unprotected.bindings() == {}
    # RFC 6275 section 11.5.5: from the home address, without a Home Address option, answered without routing header
    signalling = [(*_ends(p), p[6], p[40 + 2]) for p in packets if p[6] in (43, 60, wire.MOBILITY)]
    ends = unprotected.home(), unprotected.agent
    assert signalling[:1] == [(*ends, wire.MOBILITY, wire.MobilityType.BINDING_UPDATE)]
    assert signalling[-1:] == [(*ends[::-1], wire.MOBILITY, wire.MobilityType.BINDING_ACKNOWLEDGEMENT)]
    # only then it tells its neighbours that the home address is its own again
    announced = [n for n, p in enumerate(packets) if p[6] == _ICMPV6 and p[40] == 136 and p[48:64] == ends[0].packed]
    acknowledged = max(n for n, p in enumerate(packets) if p[6] == wire.MOBILITY)
    to_all = [n for n in announced if packets[n][24:40] == IPv6Address("ff02::1").packed]
    assert to_all
    assert acknowledged < min(to_all)
    assert packets[to_all[0]][44] >> 5 == 0b001  # override
    # at home nothing of the tunnel is left
    assert "41" not in unprotected.run("mn1", "ip", "-6", "route", "show", "table", "41")
    assert unprotected.run("mn1", "ip", "-6", "rule").count(home) == 0
    assert unprotected.move("mn1", "access1")["at_home"] is False
    assert unprotected.cli("status", "--lab", LAB, "--json").document["sound"] is True


def test_a_deregistration_closes_the_tunnel(unprotected: Running) -> None:
    home = str(unprotected.home())
    unprotected.cli("deregister", "mn1", "--lab", LAB)
    assert unprotected.bindings() == {}
    assert home not in unprotected.run("ha1", "ip", "-6", "route", "show", "table", "all")
    assert "elements" not in unprotected.run("ha1", "nft", "list", "set", "ip6", "mip6_guard", "reverse")
    unprotected.run("cn1", "ping", "-6", "-n", "-c", "1", "-W", "0.3", home, status=1)
    unprotected.cli("bootstrap", "mn1", "--lab", LAB)


def test_an_update_for_a_home_address_of_nobody_is_not_answered(unprotected: Running) -> None:
    nobody, before = unprotected.lab.plan.wires["home"].prefix[0x1_0099], unprotected.bindings()
    with unprotected.capture("ha1", UPLINK) as capture:
        unprotected.inject(ROUTER, unprotected.packet(unprotected.update(home=nobody), unprotected.care_of(), nobody))
        unprotected.settled()
        answers = [p for p in capture.stop() if p[8:24] == unprotected.agent.packed and nobody.packed in p]
    assert answers == []
    assert unprotected.bindings() == before


@pytest.mark.parametrize("wrong", ["care-of address", "home address"])
def test_a_reverse_tunnel_without_a_binding_is_refused(unprotected: Running, wrong: str) -> None:
    """RFC 6275 section 10.4.5: the outer source has to be the registered care-of address."""
    home, care_of = unprotected.home(), unprotected.care_of()
    outer = IPv6Address(int(care_of) ^ 0xFF) if wrong == "care-of address" else care_of
    inner = IPv6Address(int(home) ^ 0xFF) if wrong == "home address" else home
    refused = unprotected.counter("reverse tunnel without a binding")
    with unprotected.capture("cn1", "internet") as capture:
        unprotected.inject(ROUTER, _in_tunnel(outer, unprotected.agent, inner, unprotected.correspondent))
        until(lambda: unprotected.counter("reverse tunnel without a binding") > refused)
        unprotected.inject(ROUTER, _in_tunnel(care_of, unprotected.agent, home, unprotected.correspondent))
        until(lambda: [p for p in capture.packets() if p[6] == _UDP])
        arrived = [_ends(p) for p in capture.stop() if p[6] == _UDP]
    assert arrived == [(home, unprotected.correspondent)]


def test_a_tunnel_from_somebody_else_than_the_home_agent_is_refused(unprotected: Running) -> None:
    home, care_of = unprotected.home(), unprotected.care_of()
    refused = unprotected.counter("tunnel from somebody else", "mn1")
    with unprotected.capture("mn1", "eth0") as capture:
        unprotected.inject("cn1", _in_tunnel(unprotected.correspondent, care_of, unprotected.correspondent, home))
        until(lambda: unprotected.counter("tunnel from somebody else", "mn1") > refused)
        assert [p for p in capture.stop() if p[8:24] in (care_of.packed, home.packed) and p[6] == _ICMPV6] == []


def test_a_home_address_option_without_a_binding_brings_a_binding_error(unprotected: Running) -> None:
    """RFC 6275 section 9.3.1; with the binding that it names, it is no error."""
    home, care_of = unprotected.home(), unprotected.care_of()
    stranger = IPv6Address(int(care_of) ^ 0xFF)
    with unprotected.capture("ha1", UPLINK) as capture:
        for source in (care_of, stranger):
            udp = _udp(home, unprotected.agent)
            unprotected.inject(ROUTER, wire.build(source, unprotected.agent, _UDP, udp, home_address_option=home))
        until(lambda: [p for p in capture.packets() if p[6] == wire.MOBILITY])
        unprotected.settled()
        packets = [p for p in capture.stop() if p[8:24] == unprotected.agent.packed]
    errors = [(p, wire.decode(p[40:], *_ends(p))) for p in packets if p[6] == wire.MOBILITY]
    to_stranger = [message for packet, message in errors if packet[24:40] == stranger.packed]
    assert to_stranger == [wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, home)]
    assert [message.status for _, message in errors if isinstance(message, wire.BindingError)].count(1) == 1


@pytest.mark.parametrize("option", [True, False])
def test_an_unknown_message_is_answered_once(unprotected: Running, option: bool) -> None:
    """RFC 6275 section 9.2: whether it comes with a Home Address option or not, there is one Binding Error."""
    care_of, home = unprotected.care_of(), unprotected.home()
    octets = _unknown_type(home if option else care_of, unprotected.agent)
    packet = wire.build(care_of, unprotected.agent, wire.MOBILITY, octets, home_address_option=home if option else None)
    with unprotected.capture("ha1", UPLINK) as capture:
        unprotected.inject(ROUTER, packet)
        until(lambda: [p for p in capture.packets() if p[8:24] == unprotected.agent.packed and p[6] == wire.MOBILITY])
        unprotected.settled()  # a second one would be there; the correspondent's is that of ``settled``
        answers = [
            p
            for p in capture.stop()
            if p[8:24] == unprotected.agent.packed
            and p[24:40] != unprotected.correspondent.packed
            and p[6] in (wire.MOBILITY, _ICMPV6)
        ]
    answers = [p for p in answers if p[6] == wire.MOBILITY or p[40] < 128]
    expected = wire.BindingError(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, home if option else IPv6Address(0))
    assert [wire.decode(p[40:], *_ends(p)) for p in answers] == [expected]


def test_a_malformed_message_brings_the_parameter_problem_of_the_agent_only(unprotected: Running) -> None:
    update = bytearray(wire.encode(unprotected.update(), unprotected.home(), unprotected.agent))
    update[0], update[4:6] = 6, bytes(2)  # Payload Proto
    update[4:6] = wire.checksum(unprotected.home(), unprotected.agent, wire.MOBILITY, update).to_bytes(2, "big")
    care_of = unprotected.care_of()
    packet = wire.build(
        care_of, unprotected.agent, wire.MOBILITY, bytes(update), home_address_option=unprotected.home()
    )
    with unprotected.capture("ha1", UPLINK) as capture:
        unprotected.inject(ROUTER, packet)
        until(lambda: _errors(capture.packets(), unprotected.agent))
        unprotected.settled()
        (problem,) = _errors(capture.stop(), unprotected.agent)
    decoded = wire.decode_icmp(problem[40:], *_ends(problem))
    assert isinstance(decoded, wire.ParameterProblem)
    assert (decoded.code, decoded.pointer) == (0, 40 + 24)


def test_a_wrong_checksum_is_not_answered(unprotected: Running) -> None:
    octets = bytearray(unprotected.packet(unprotected.update(lifetime=0), unprotected.care_of()))
    octets[40 + 24 + 5] ^= 1
    before = unprotected.bindings()
    with unprotected.capture("ha1", UPLINK) as capture:
        unprotected.inject(ROUTER, bytes(octets))
        unprotected.settled()
        heard = [p for p in capture.stop() if p[8:24] == unprotected.agent.packed and p[6] == 43]
    assert heard == []
    assert unprotected.bindings() == before


# auth-option


def test_both_keys_lead_to_a_binding_and_aaa_judges_one(authenticated: Running) -> None:
    told = authenticated.cli("status", "--lab", LAB, "--json").document
    assert told["sound"] is True
    assert {(e["node"], e["state"], e["protection"]) for e in told["bindings"]} == {
        ("mn1", "registered", "auth-option"),
        ("mn2", "registered", "auth-option"),
    }
    assert {e["identity"] for e in authenticated.bindings().values()} == {"mn1@carrier.example", "mn2@corp.example"}
    log = _access_log(authenticated)
    assert "mn1@" not in log
    assert f"accept user=mn2@corp.example realm=corp.example home-address={authenticated.home('mn2')}" in log


def test_the_options_of_a_registration_stand_as_rfc_4285_orders_them(authenticated: Running) -> None:
    with authenticated.capture(ROUTER, "access1") as first, authenticated.capture("ar2", "access2") as second:
        for node in ("mn1", "mn2"):
            authenticated.cli("bootstrap", node, "--lab", LAB)
        heard = {"mn1": first.stop(), "mn2": second.stop()}
    for node, last in (("mn1", [(MN_HA, 256)]), ("mn2", [(MN_HA, 257), (MN_AAA, 3)])):
        updates = _messages(heard[node], wire.BindingUpdate)
        answers = _messages(heard[node], wire.BindingAcknowledgement)
        assert len(updates) == len(answers) == 2
        for (_, update), (_, answer) in zip(updates, answers, strict=True):
            kinds = [type(option) for option in update.options]
            expected = [wire.MobileNodeIdentifier, wire.AlternateCareOfAddress, wire.ReplayProtection]
            assert kinds == [*expected, *[wire.MobilityAuthentication] * len(last)]
            assert _authentications(update) == last
            assert [type(option) for option in answer.options][-1] is wire.MobilityAuthentication
            assert _authentications(answer) == last[:1]
            assert wire.option(answer, wire.ReplayProtection) == wire.option(update, wire.ReplayProtection)
    # 12 and 20 octets of authenticator: sections 5.1 and 5.2
    proof = wire.option(_messages(heard["mn1"], wire.BindingUpdate)[0][1], wire.MobilityAuthentication)
    assert proof is not None
    assert len(proof.authenticator) == 12


@needs_tshark
def test_wireshark_reads_the_options(authenticated: Running) -> None:
    with authenticated.capture(ROUTER, "access1") as capture:
        authenticated.cli("bootstrap", "mn1", "--lab", LAB)
        capture.stop()
    said = subprocess.run(
        ["tshark", "-r", str(capture.path), "-Y", "mipv6", "-V"], capture_output=True, text=True, check=True
    ).stdout
    assert said.count("mn1@carrier.example") >= 4
    assert "Malformed" not in said


def test_a_handover_asks_no_aaa(authenticated: Running) -> None:
    """RFC 4640 section 3: what follows the bootstrap needs no infrastructure."""
    authenticated.bootstrap("mn2")
    log = _access_log(authenticated)
    moved = authenticated.move("mn2", "access1")
    assert authenticated.bindings()[str(authenticated.home("mn2"))]["care_of_address"] == moved["care_of_address"]
    authenticated.move("mn2", "access2")
    assert _access_log(authenticated) == log


def test_mobile_nodes_reach_each_other_at_home_and_away(authenticated: Running) -> None:
    one, other = authenticated.home("mn1"), authenticated.home("mn2")
    ping = ("ping", "-6", "-n", "-c", "1", "-w", "5")
    authenticated.run("mn1", *ping, "-I", str(one), str(other))
    assert authenticated.move("mn1", "home")["at_home"] is True
    authenticated.run("mn2", *ping, "-I", str(other), str(one))
    authenticated.move("mn1", "access1")


@pytest.mark.parametrize("flaw", ["no authentication", "another key", "a changed octet", "authentication not last"])
def test_a_forged_update_is_refused(authenticated: Running, flaw: str) -> None:
    """RFC 4285 section 5.3; the answer is authenticated, the binding stands."""
    authenticated.bootstrap()
    before, subscriber = authenticated.bindings(), authenticated.lab.plan.subscribers["mn1"]
    identifier, attacker = wire.MobileNodeIdentifier(b"mn1@carrier.example"), IPv6Address("2001:db8:1::bad")
    options: list[wire.Option] = [identifier, wire.AlternateCareOfAddress(attacker), _now()]
    if flaw != "no authentication":
        options.append(wire.MobilityAuthentication(MN_HA, 256))
    if flaw == "authentication not last":
        options.append(wire.ServiceSelection("mip6"))
    update = authenticated.update(*options)
    if flaw != "no authentication":
        assert subscriber.mn_ha_key
        key = bytes(16) if flaw == "another key" else bytes.fromhex(subscriber.mn_ha_key.reveal())
        update = wire.sign(update, {MN_HA: key}, attacker, authenticated.home())
    if flaw == "a changed octet":
        update = wire.BindingUpdate(update.sequence, update.flags, 1, update.options)
    answer, octets = _answer(authenticated, update)
    assert answer.status == STATUS.MIPV6_AUTH_FAIL
    assert subscriber.mn_ha_key
    key = bytes.fromhex(subscriber.mn_ha_key.reveal())
    assert wire.verify(octets, MN_HA, key, attacker, authenticated.home())
    assert authenticated.bindings() == before


def test_a_replayed_update_is_refused_with_the_time(authenticated: Running) -> None:
    """RFC 4285 section 6: its own seconds, the sender's fraction."""
    with authenticated.capture("ha1", UPLINK) as capture:
        authenticated.bootstrap()
        authenticated.cli("bootstrap", "mn1", "--lab", LAB)
        heard = [p for p in capture.stop() if p[6] == 60 and _update_of(p).lifetime_units]
    before, replayed = authenticated.bindings(), heard[-1]
    with authenticated.capture("ha1", UPLINK) as capture:
        authenticated.inject(ROUTER, replayed)
        until(lambda: _messages(capture.packets(), wire.BindingAcknowledgement))
        (_, answer), *_ = _messages(capture.stop(), wire.BindingAcknowledgement)
    assert answer.status == STATUS.MIPV6_ID_MISMATCH
    sent, told = (wire.option(message, wire.ReplayProtection) for message in (_update_of(replayed), answer))
    assert sent
    assert told
    assert told.timestamp % _NTP_SECOND == sent.timestamp % _NTP_SECOND
    assert abs(wire.skew(told.timestamp, wire.ntp_timestamp(time.time_ns()))) < 2
    assert authenticated.bindings() == before
    assert authenticated.ask("mn1", "status")["state"] == "registered"


@pytest.mark.parametrize("seconds", [-8, 8])
def test_a_timestamp_that_is_too_far_away_is_refused(authenticated: Running, seconds: int) -> None:
    before = authenticated.bindings()
    answer, _ = _answer(authenticated, _signed(authenticated, _now(seconds)))
    assert answer.status == STATUS.MIPV6_ID_MISMATCH
    assert authenticated.bindings() == before


def test_an_update_without_a_timestamp_is_refused(authenticated: Running) -> None:
    before = authenticated.bindings()
    answer, _ = _answer(authenticated, _signed(authenticated))
    assert answer.status == STATUS.MIPV6_MESG_ID_REQD
    assert wire.option(answer, wire.ReplayProtection) is None
    assert authenticated.bindings() == before


@pytest.mark.parametrize("flaw", ["no identity", "unknown identity", "another SPI", "home address of another"])
def test_whom_the_home_agent_does_not_know_it_does_not_answer(authenticated: Running, flaw: str) -> None:
    """RFC 4285 section 5.1.1: without an association, the update is discarded."""
    nai = b"mn9@carrier.example" if flaw == "unknown identity" else b"mn1@carrier.example"
    identity = () if flaw == "no identity" else (wire.MobileNodeIdentifier(nai),)
    spi = 300 if flaw == "another SPI" else 256
    home = authenticated.home("mn2" if flaw == "home address of another" else "mn1")
    subscriber, care_of = authenticated.lab.plan.subscribers["mn1"], authenticated.care_of()
    assert subscriber.mn_ha_key
    update = authenticated.update(*identity, _now(), wire.MobilityAuthentication(MN_HA, spi), home=home)
    update = wire.sign(update, {MN_HA: bytes.fromhex(subscriber.mn_ha_key.reveal())}, care_of, home)
    before = authenticated.bindings()
    with authenticated.capture("ha1", UPLINK) as capture:
        authenticated.inject(ROUTER, authenticated.packet(update, care_of, home))
        authenticated.settled()
        assert _messages(capture.stop(), wire.BindingAcknowledgement) == []
    assert authenticated.bindings() == before


def test_aaa_computes_and_refuses_a_wrong_authenticator(authenticated: Running) -> None:
    """RFC 4285 section 5.2: the home agent has no key to judge or to answer, so it is silent."""
    home, care_of = authenticated.home("mn2"), authenticated.care_of("mn2")
    authenticated.cli("deregister", "mn2", "--lab", LAB)
    options = (
        wire.MobileNodeIdentifier(b"mn2@corp.example"),
        _now(),
        wire.MobilityAuthentication(MN_HA, 257),
        wire.MobilityAuthentication(MN_AAA, wire.HMAC_SHA1_SPI),
    )
    update = wire.sign(authenticated.update(*options, home=home), {MN_HA: bytes(16), MN_AAA: bytes(16)}, care_of, home)
    with authenticated.capture("ha1", UPLINK) as capture:
        refusals = _access_log(authenticated).count("reject user=mn2@corp.example")
        authenticated.inject("ar2", authenticated.packet(update, care_of, home))
        until(lambda: _access_log(authenticated).count("reject user=mn2@corp.example") > refusals)
        authenticated.settled()
        assert _messages(capture.stop(), wire.BindingAcknowledgement) == []
    assert str(home) not in authenticated.bindings()
    authenticated.cli("bootstrap", "mn2", "--lab", LAB)
    assert str(home) in authenticated.bindings()


def test_a_mobile_node_believes_no_acknowledgement_without_authentication(authenticated: Running) -> None:
    authenticated.bootstrap()
    status = authenticated.ask("mn1", "status")
    home, care_of = authenticated.home(), authenticated.care_of()
    refusal = wire.BindingAcknowledgement(STATUS.SEQUENCE_NUMBER_OUT_OF_WINDOW, wire.AckFlags(0), 9999, 0)
    octets = wire.encode(refusal, authenticated.agent, home)
    packet = wire.build(authenticated.agent, care_of, wire.MOBILITY, octets, type2_home_address=home)
    authenticated.inject("ar1", packet)
    until(lambda: "not authenticated" in _journal(authenticated.room("mn1")))
    assert authenticated.ask("mn1", "status")["sequence"] == status["sequence"]


def test_no_key_is_in_a_log(authenticated: Running) -> None:
    plan = authenticated.lab.plan
    keys = {s.password.reveal() for s in plan.subscribers.values()}
    keys |= {s.mn_ha_key.reveal() for s in plan.subscribers.values() if s.mn_ha_key}
    for path in (authenticated.cli.state / LAB / "nodes").rglob("*"):
        if path.is_file() and ("log" in path.parts or "var" in path.parts):
            content = path.read_text(errors="replace")
            assert not [key for key in keys if key in content], path
        if path.is_file() and any(key in path.read_text(errors="replace") for key in keys):
            assert path.stat().st_mode & 0o077 == 0, path


def _unknown_type(source: IPv6Address, destination: IPv6Address) -> bytes:
    """A Mobility Header of a type that the home agent does not know: Heartbeat, RFC 5847."""
    octets = bytearray((_NONE, 1, 13, 0, 0, 0, 0, 0, *bytes(8)))
    octets[4:6] = wire.checksum(source, destination, wire.MOBILITY, octets).to_bytes(2, "big")
    return bytes(octets)


def _ends(packet: bytes) -> tuple[IPv6Address, IPv6Address]:
    return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])


def _tunnelled(packets: list[bytes]) -> list[tuple[IPv6Address, ...]]:
    """The outer and the inner ends of echoes inside IPv6-in-IPv6."""
    return [(*_ends(p), *_ends(p[40:])) for p in packets if p[6] == _IPV6 and p[46] == _ICMPV6 and p[80] in _ECHO]


def _mobility(packet: bytes) -> wire.IPv6Packet | None:
    try:
        walked = wire.walk(packet)
    except WireError:
        return None
    return walked if walked.next_header == wire.MOBILITY else None


def _messages(packets: list[bytes], kind: type[Any]) -> list[tuple[bytes, Any]]:
    found = []
    for packet in packets:
        walked = _mobility(packet)
        if walked:
            with contextlib.suppress(wire.UnknownTypeError):
                message = wire.decode(walked.payload, walked.upper_source, walked.upper_destination)
                if isinstance(message, kind):
                    found.append((walked.payload, message))
    return found


def _update_of(packet: bytes) -> wire.BindingUpdate:
    ((_, update),) = _messages([packet], wire.BindingUpdate)
    assert isinstance(update, wire.BindingUpdate)
    return update


def _authentications(message: wire.BindingUpdate | wire.BindingAcknowledgement) -> list[tuple[int, int]]:
    return [(o.subtype, o.spi) for o in message.options if isinstance(o, wire.MobilityAuthentication)]


def _errors(packets: list[bytes], source: IPv6Address) -> list[bytes]:
    return [p for p in packets if p[8:24] == source.packed and p[6] == _ICMPV6 and p[40] == _PARAMETER_PROBLEM]


def _udp(source: IPv6Address, destination: IPv6Address) -> bytes:
    datagram = bytearray(bytes.fromhex("1389138900080000"))
    datagram[6:8] = wire.checksum(source, destination, _UDP, datagram).to_bytes(2, "big")
    return bytes(datagram)


def _in_tunnel(outer: IPv6Address, end: IPv6Address, inner: IPv6Address, destination: IPv6Address) -> bytes:
    return wire.build(outer, end, _IPV6, wire.build(inner, destination, _UDP, _udp(inner, destination)))


def _now(ahead: float = 0.0) -> wire.ReplayProtection:
    return wire.ReplayProtection(wire.ntp_timestamp(time.time_ns() + int(ahead * 1e9)))


def _signed(running: Running, *options: wire.Option) -> wire.BindingUpdate:
    """An update of mn1 that it could have sent."""
    key = running.lab.plan.subscribers["mn1"].mn_ha_key
    assert key
    identity, proof = wire.MobileNodeIdentifier(b"mn1@carrier.example"), wire.MobilityAuthentication(MN_HA, 256)
    update = running.update(identity, *options, proof)
    return wire.sign(update, {MN_HA: bytes.fromhex(key.reveal())}, running.care_of(), running.home())


def _answer(running: Running, update: wire.BindingUpdate) -> tuple[wire.BindingAcknowledgement, bytes]:
    """Send an update from mn1's care-of address, past mn1, and return what the home agent answers."""
    with running.capture("ha1", UPLINK) as capture:
        running.inject(ROUTER, running.packet(update, running.care_of()))
        until(lambda: _messages(capture.packets(), wire.BindingAcknowledgement))
        ((octets, answer),) = _messages(capture.stop(), wire.BindingAcknowledgement)
    assert isinstance(answer, wire.BindingAcknowledgement)
    return answer, octets


def _access_log(running: Running) -> str:
    return (running.room("aaa2").lab / "var" / "freeradius" / "access.log").read_text()


def _journal(room: Room) -> str:
    return (room.lab / "log" / "mobile-node.log").read_text()


def _tshark(path: Path, wanted: str, *fields: str) -> list[tuple[str, ...]]:
    named = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", wanted, "-T", "fields", *named],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]
