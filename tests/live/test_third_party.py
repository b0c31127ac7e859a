"""Scenario third-party, live: every part real, seen from outside: on the wire, in the DNS, in the AAA's records."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import select
import socket
import subprocess
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
import dns.rdatatype
import pytest
from lab import FAST, LIMIT, TESTBED, THIRD_PARTY, Capture, Cli, Host, command_line, derived, mobile_node, needs_root
from veth import until

from testbed.bootstrap import agent_socket
from testbed.errors import WireError
from testbed.lab import Lab
from testbed.mip6 import ndisc, wire
from testbed.mip6.control import result_of
from testbed.mip6.ndlink import RouterSolicitor
from testbed.netlink import in_namespace
from testbed.topology.plan import Esp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testbed.runtime.base import Room

pytestmark = [pytest.mark.live, needs_root]

LAB = "third"
CORRESPONDENT = "2001:db8:1::2"
PATTERN = b"\xc0\xff\xee"  # what the pings carry
_COLUMNS = (
    *("time", "status", "user", "session", "nas", "home-address", "care-of-address"),
    *("seconds", "octets-in", "octets-out", "cause"),
)
_ECHO = (128, 129)
_UDP, _ESP, _ICMPV6, _IKE_PORT = 17, 50, 58, 4500
_ETH_P_IPV6 = 0x86DD
_IPV6_FREEBIND = 78  # linux/in6.h


class Running:
    """The lab of this module: mn1 by SLAAC and mn2 by DHCPv6, and one more host on the home link."""

    def __init__(self, cli: Cli, up: dict[str, Any], folder: Path) -> None:
        self.cli = cli
        self.folder = folder
        self.bootstrapped = {entry["node"]: entry for entry in up["bootstrapped"]}
        self.lab = Lab(LAB, cli.state / LAB, cli.saved(LAB))
        self.agent = self.lab.plan.home_agent_address(self.lab.plan.hosts["ha1"])
        self.home_prefix = next(wire.prefix for wire in self.lab.plan.wires.values() if wire.name == "home")

    def home_address(self, node: str) -> IPv6Address:
        return IPv6Address(self.bootstrapped[node]["home_address"])

    def care_of_address(self, node: str) -> IPv6Address:
        return IPv6Address(self.bootstrapped[node]["care_of_address"])

    def room(self, node: str) -> Room:
        return self.lab.room(node)

    def run(self, node: str, *program: str, status: int = 0) -> str:
        return self.cli("exec", node, "--lab", LAB, "--", *program, status=status).out

    def ping(self, node: str, destination: str, *options: str) -> None:
        self.run(node, "ping", "-6", "-n", "-c", "1", "-w", "10", "-p", PATTERN.hex(), *options, destination)

    def ask(self, node: str, operation: str) -> dict[str, Any]:
        return asyncio.run(result_of(agent_socket(self.room(node)), {"op": operation}, where=node))

    def bindings(self) -> dict[str, Any]:
        """The home agent's bindings, without what time changes."""
        told = self.ask("ha1", "status")["bindings"]
        return {e["home_address"]: {k: v for k, v in e.items() if k != "remaining"} for e in told}

    def refused_in_clear(self) -> int:
        """How many Mobility Headers the home agent's guard has dropped, as they came in clear."""
        chain = json.loads(self.run("ha1", "nft", "-j", "list", "chain", "ip6", "mip6_guard", "input"))
        rules = [entry["rule"] for entry in chain["nftables"] if "rule" in entry]
        rule = next(rule for rule in rules if rule.get("comment") == "mobility header in clear")
        return int(next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part))

    def sent_into_the_tunnel(self, node: str) -> int | None:
        """How many packets a node gave to charon's ESP; None where the kernel does ESP."""
        if self.lab.saved.esp is Esp.KERNEL:
            return None
        (link,) = json.loads(self.run(node, "ip", "-j", "-s", "link", "show", "ipsec0"))
        return int(link["stats64"]["tx"]["packets"])

    def bound(self) -> str:
        return self.run("ha1", "nft", "list", "set", "ip6", "mip6_guard", "bound")

    def accounting(self) -> list[dict[str, str]]:
        path = self.room("aaa2").lab / "var" / "freeradius" / "accounting.csv"
        lines = path.read_text().splitlines() if path.exists() else []
        return list(csv.DictReader((line for line in lines if not line.startswith("time,")), _COLUMNS))

    def capture(self, node: str, interface: str) -> Capture:
        return Capture(self.room(node), interface, self.folder)

    def update(self, home: IPv6Address, care_of: IPv6Address, sequence: int | None = None) -> wire.BindingUpdate:
        """A Binding Update that a home agent would take if it came the right way."""
        known = self.bindings().get(str(home))
        flags = wire.BindingFlags.A | wire.BindingFlags.H
        number = ((known["sequence"] + 1) & 0xFFFF if known else 1) if sequence is None else sequence
        return wire.BindingUpdate(number, flags, 15, (wire.AlternateCareOfAddress(care_of),))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("third-party")

    def change(topology: dict[str, Any]) -> None:
        topology["nodes"]["hh1"] = {"networks": ["home"]}
        topology["mobile_nodes"]["mn2"] = mobile_node("mn2", attach="access2")

    path = derived(folder / "home-host.yaml", change)
    with command_line() as cli:
        up = cli("up", path, "--lab", LAB, *FAST, "--json")
        yield Running(cli, up.document, folder)


def test_both_ends_agree_on_the_binding(running: Running) -> None:
    told = running.cli("status", "--lab", LAB, "--json").document
    assert told["sound"] is True
    states = {entry["node"]: entry for entry in told["bindings"]}
    assert {entry["state"] for entry in states.values()} == {"registered"}
    for node in ("mn1", "mn2"):
        mobile, agent = running.ask(node, "status"), running.bindings()[str(running.home_address(node))]
        assert states[node]["disagreement"] == ""
        assert agent["identity"] == mobile["nai"] == f"{node}@corp.example"
        assert agent["care_of_address"] == mobile["care_of_address"] == str(running.care_of_address(node))
        assert agent["sequence"] == mobile["sequence"]
        assert str(running.home_address(node)) in running.bound()


def test_the_home_address_is_the_one_that_corp_assigned(running: Running) -> None:
    users = (running.room("aaa2").lab / "etc" / "freeradius" / "users").read_text()
    for node in ("mn1", "mn2"):
        found = re.search(rf"^{node}@corp\.example\s.*\n\s+Framed-IPv6-Address = (\S+),", users, re.MULTILINE)
        assert found
        assert IPv6Address(found[1]) == running.home_address(node)
        assert running.home_address(node) in running.home_prefix
    # carrier's AAA does not know the subscriber, it asked corp's
    assert not (running.room("aaa1").lab / "etc" / "freeradius" / "users").exists()
    log = (running.room("aaa2").lab / "var" / "freeradius" / "access.log").read_text()
    assert f"accept user=mn1@corp.example realm=corp.example home-address={running.home_address('mn1')}" in log


def test_the_care_of_addresses_come_from_slaac_and_from_a_dhcpv6_lease(running: Running) -> None:
    wires = running.lab.plan.wires
    assert running.care_of_address("mn1") in wires["access1"].prefix
    leased = running.care_of_address("mn2")
    assert leased in wires["access2"].prefix
    leases = (running.room("ar2").lab / "var" / "kea" / "leases6.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in leases[1:]].count(str(leased)) >= 1
    ways = [line for line in _journal(running.room("mn2")) if line.get("step") == "care-of address"]
    assert ways[-1]["way"] == "DHCPv6"


def test_traffic_passes_through_the_home_agent_in_both_directions(running: Running) -> None:
    home, care_of = running.home_address("mn1"), running.care_of_address("mn1")
    with (
        running.capture("ar1", "access1") as access,
        running.capture("ar1", "visited") as visited,
        running.capture("ha1", "carrier") as carrier,
        running.capture("cn1", "internet") as beyond,
    ):
        running.ping("cn1", str(home))
        running.ping("mn1", CORRESPONDENT, "-I", str(home))
        until(lambda: len(_echoes(beyond.packets())) == 4)
        seen = [capture.stop() for capture in (access, visited, carrier, beyond)]
    correspondent = IPv6Address(CORRESPONDENT)
    pairs = [(correspondent, home), (home, correspondent), (home, correspondent), (correspondent, home)]
    on_access, on_visited, at_agent, at_correspondent = seen
    # beyond the home agent the packets are in clear, and no tunnel
    assert [(source, destination) for source, destination, _ in _echoes(at_correspondent)] == pairs
    assert _tunnelled(at_correspondent) == []
    # each of them passes the home agent's uplink twice, in clear and in the tunnel
    assert sorted(_ends(_echoes(at_agent))) == sorted(pairs)
    ends = [(running.agent, care_of), (care_of, running.agent)] * 2
    assert sorted(_tunnelled(at_agent)) == sorted(ends)
    # between mobile node and home agent there is the tunnel only
    for packets in (on_access, on_visited):
        assert sorted(_tunnelled(packets)) == sorted(ends)
        assert _echoes(packets) == []
        assert not [packet for packet in packets if PATTERN in packet or home.packed in packet]


def test_the_home_agent_probes_and_defends_the_home_address_on_the_home_link(running: Running) -> None:
    home = running.home_address("mn1")
    mac = bytes.fromhex(_leg_mac(running, "ha1", "home").replace(":", ""))
    with running.capture("hh1", "home") as capture:
        running.cli("bootstrap", "mn1", "--lab", LAB)
        until(lambda: len(_defences(capture.packets(), home)) == 3)
        running.ping("hh1", str(home))
        until(lambda: len(_echoes(capture.packets())) == 2)
        packets = capture.stop()
    heard = _neighbour_discovery(packets)
    probes = [n for n, (source, _, message) in enumerate(heard) if _is_probe(source, message, home)]
    assert len(probes) == 1
    source, destination, probe = heard[probes[0]]
    assert (source, destination) == (ndisc.UNSPECIFIED, ndisc.solicited_node(home))
    assert probe == ndisc.NeighborSolicitation(home)
    defences = _defences(packets, home)
    assert {destination for _, destination, _ in defences} == {ndisc.ALL_NODES}
    assert {message for _, _, message in defences} == {
        ndisc.NeighborAdvertisement(home, router=False, solicited=False, override=True, target_mac=mac)
    }
    assert probes[0] < min(n for n, entry in enumerate(heard) if entry in defences)
    # to a neighbour that asks it answers for the mobile node, and the packet reaches it
    answers = [m for _, _, m in heard if isinstance(m, ndisc.NeighborAdvertisement) and m.target == home]
    assert [m for m in answers if m.solicited] == [
        ndisc.NeighborAdvertisement(home, router=False, solicited=True, override=True, target_mac=mac)
    ]


def test_router_advertisements_on_the_home_link_name_the_home_agent(running: Running) -> None:
    async def solicit() -> ndisc.RouterAdvertisement:
        with RouterSolicitor("home") as solicitor:
            return (await asyncio.wait_for(solicitor.solicit(), LIMIT)).advertisement

    with in_namespace(running.room("hh1").init.pid):
        heard = asyncio.run(solicit())
    assert heard.home_agent is True
    assert heard.home_agent_information is not None
    assert heard.home_agent_information.lifetime == 1800
    (prefix,) = heard.prefixes
    assert prefix.router_address is True
    assert prefix.address == running.agent
    assert prefix.network == running.home_prefix


def test_bind_answers_the_service_query_with_the_address_beside(running: Running) -> None:
    query = dns.message.make_query("_mip6._ipv6.carrier.example", "SRV")
    with in_namespace(running.room("mn1").init.pid):
        answer = dns.query.udp(query, "2001:db8:3::3", timeout=LIMIT)
    (service,) = answer.answer[0]
    assert (service.target.to_text(), service.port) == ("ha1.carrier.example.", 0)
    beside = {
        rrset.name.to_text(): rrset[0].address for rrset in answer.additional if rrset.rdtype == dns.rdatatype.AAAA
    }
    assert IPv6Address(beside["ha1.carrier.example."]) == running.agent


def test_corp_gets_accounting_records_from_the_start_to_the_deregistration(running: Running) -> None:
    home = str(running.home_address("mn2"))
    running.cli("bootstrap", "mn2", "--lab", LAB)
    until(lambda: _sessions(running, "mn2")[-1:] == [("start", "mn2@corp.example", home, "ha1.carrier.example")])
    number = len(_sessions(running, "mn2"))
    assert running.ask("mn2", "deregister") == {"home_address": home}
    until(lambda: len(_sessions(running, "mn2")) > number)
    assert _sessions(running, "mn2")[-1] == ("stop", "mn2@corp.example", home, "ha1.carrier.example")
    until(lambda: home not in running.bindings() and home not in running.bound())
    assert home not in running.ask("ha1", "status")["owners"]
    running.run("cn1", "ping", "-6", "-n", "-c", "1", "-W", "0.3", home, status=1)
    running.cli("bootstrap", "mn2", "--lab", LAB)
    running.ping("cn1", home)


def test_the_records_of_a_session_carry_one_number(running: Running) -> None:
    rows = [row for row in running.accounting() if row["status"] in {"start", "stop"}]
    sessions: dict[str, list[str]] = {}
    for row in rows:
        sessions.setdefault(row["session"], []).append(row["status"])
    assert set(map(tuple, sessions.values())) <= {("start",), ("start", "stop")}
    assert len(sessions) >= 4


@pytest.mark.parametrize("sender", ["cn1", "ar1"])
def test_a_binding_update_in_clear_is_refused(running: Running, sender: str) -> None:
    home, attacker = running.home_address("mn1"), IPv6Address("2001:db8:1::bad")
    before, refused = running.bindings(), running.refused_in_clear()
    with running.capture("ha1", "carrier") as capture:
        _inject(running, sender, _mobility(home, running.agent, running.update(home, attacker)))
        until(lambda: running.refused_in_clear() > refused)
        heard = capture.stop()
    assert running.refused_in_clear() == refused + 1
    assert running.bindings() == before
    # and nobody answers
    assert [_ends_of(packet) for packet in heard if packet[6] == wire.MOBILITY] == [(home, running.agent)]


def test_a_binding_update_in_clear_from_the_care_of_address_is_refused(running: Running) -> None:
    """With a Home Address option, as in RFC 6275 section 11.7.1, but without the security association."""
    home, care_of = running.home_address("mn1"), running.care_of_address("mn1")
    before = running.bindings()
    octets = wire.encode(running.update(home, IPv6Address("2001:db8:5::bad")), home, running.agent)
    packet = wire.build(care_of, running.agent, wire.MOBILITY, octets, home_address_option=home)
    with running.capture("ha1", "carrier") as capture:
        _on_the_wire(running, "mn1", "access1", "ar1", packet)
        until(lambda: any(care_of.packed in p[8:24] and home.packed in p for p in capture.packets()))
        # what came later has been judged later
        refused = running.refused_in_clear()
        _inject(running, "cn1", _mobility(home, running.agent, running.update(home, care_of)))
        until(lambda: running.refused_in_clear() > refused)
    assert running.bindings() == before


def test_a_mobile_node_lets_no_mobility_header_out_in_clear(running: Running) -> None:
    home, care_of = running.home_address("mn1"), running.care_of_address("mn1")
    packet = _mobility(care_of, running.agent, running.update(home, care_of))
    with running.capture("mn1", "eth0") as capture:
        with pytest.raises(PermissionError):  # the kernel tells the sender what its packet filter did
            _inject(running, "mn1", packet)
        running.ping("mn1", CORRESPONDENT)
        until(lambda: len(_echoes(capture.packets())) == 2)
        assert [p for p in capture.stop() if p[6] == wire.MOBILITY] == []


def test_a_mobile_node_without_a_security_association_gets_no_binding(running: Running) -> None:
    nobody = running.home_prefix[0x1_0099]
    refused = running.refused_in_clear()
    _inject(running, "ar1", _mobility(nobody, running.agent, running.update(nobody, IPv6Address("2001:db8:5::99"))))
    until(lambda: running.refused_in_clear() > refused)
    assert str(nobody) not in running.bindings()
    assert str(nobody) not in running.bound()


def test_no_security_association_serves_for_the_home_address_of_another(running: Running) -> None:
    own, other = running.home_address("mn2"), running.home_address("mn1")
    care_of, before = running.care_of_address("mn2"), running.bindings()
    refused, entered = running.refused_in_clear(), running.sent_into_the_tunnel("mn2")
    # the packet goes into mn2's tunnel, its inner source is mn1's home address
    rule = ("from", str(other), "lookup", "220", "priority", "999")
    running.run("mn2", "ip", "-6", "rule", "add", *rule)
    try:
        _inject(running, "mn2", _mobility(other, running.agent, running.update(other, care_of)))
        # and with mn2's own home address outside and mn1's in the Home Address option
        octets = wire.encode(running.update(other, care_of), other, running.agent)
        packet = wire.build(own, running.agent, wire.MOBILITY, octets, home_address_option=other)
        _inject(running, "mn2", packet)
    finally:
        running.run("mn2", "ip", "-6", "rule", "del", *rule)
    _after_the_tunnel(running, own)
    assert running.sent_into_the_tunnel("mn2") in {None, (entered or 0) + 3}
    assert running.bindings() == before
    assert running.refused_in_clear() == refused


def test_a_care_of_address_where_the_tunnel_does_not_end_is_refused(running: Running) -> None:
    own, elsewhere = running.home_address("mn2"), running.care_of_address("mn1")

    def refused() -> int:
        told = [entry for entry in _journal(running.room("ha1"), "home-agent") if "meaning" in entry]
        return [entry["meaning"] for entry in told].count("INVALID_CARE_OF_ADDRESS")

    before = refused()
    _inject(running, "mn2", _mobility(own, running.agent, running.update(own, elsewhere)))
    until(lambda: refused() == before + 1)
    assert running.bindings()[str(own)]["care_of_address"] == str(running.care_of_address("mn2"))
    # the update was valid, so its sequence number counts (RFC 6275 section 9.5.1): the agent of mn2 catches up
    running.cli("bootstrap", "mn2", "--lab", LAB)
    assert running.cli("status", "--lab", LAB, "--json").document["sound"] is True


def test_a_mobile_node_bootstraps_again_and_again(running: Running) -> None:
    for _ in range(10):
        (entry,) = running.cli("bootstrap", "mn1", "--lab", LAB, "--json").document
        assert entry["home_address"] == str(running.home_address("mn1"))
    assert running.cli("status", "--lab", LAB, "--json").document["sound"] is True
    assert len(running.bindings()) == 2
    assert len(running.ask("ha1", "status")["owners"]) == 2
    until(lambda: _sessions(running, "mn1")[-1][0] == "start" and len(_sessions(running, "mn1")) % 2 == 1)
    rules = running.run("mn1", "ip", "-6", "rule").splitlines()
    assert len([rule for rule in rules if str(running.home_address("mn1")) in rule]) <= 1


def test_mininet_runs_a_script(running: Running, tmp_path: Path) -> None:
    script = tmp_path / "commands"
    script.write_text(f"nodes\nnet\nmn1 hostname\ncn1 ping -6 -n -c 1 {running.home_address('mn1')}\n")
    said = running.cli("cli", "--lab", LAB, "--script", str(script)).text
    assert re.search(r"^available nodes are:\s*\n.*\bmn1\b", said, re.MULTILINE)
    assert "mn1 eth0:" in said
    assert re.search(r"^mn1\s*$", said, re.MULTILINE)
    assert "1 packets transmitted, 1 received" in said
    assert running.cli("status", "--lab", LAB, "--json").document["sound"] is True


def test_exec_runs_a_program_in_the_node_and_passes_its_status_on(running: Running) -> None:
    assert running.run("mn1", "hostname") == "mn1\n"
    assert "2001:db8:7::1/64" in running.run("ha1", "ip", "-6", "address")
    running.run("mn1", "sh", "-c", "exit 42", status=42)
    told = running.cli("exec", "mn1", "--lab", LAB, "--json", "--", "sh", "-c", "echo hello; exit 3", status=3)
    assert told.document == {
        "node": "mn1",
        "program": ["sh", "-c", "echo hello; exit 3"],
        "status": 3,
        "output": "hello\n",
    }
    wrong = running.cli("exec", "mn7", "--lab", LAB, "--", "true", status=1)
    assert "mn7" in wrong.err
    assert "mn1" in wrong.err
    assert "there is no program to run" in running.cli("exec", "mn1", "--lab", LAB, status=2).err


def test_shell_opens_a_terminal_in_the_node(running: Running) -> None:
    master, slave = os.openpty()
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", TESTBED, "shell", "mn1", "--lab", LAB],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=running.cli.environment,
            text=True,
        )
        os.close(slave)
        slave = -1
        said = _until_said(master, b"mn1# ", b"")
        os.write(master, b"echo $((6 * 7)) at $(hostname); test -t 0 && echo terminal; exit\n")
        said = _until_said(master, b"terminal\r\n", said)
        assert b"42 at mn1\r\n" in said
        assert process.wait(LIMIT) == 0
    finally:
        os.close(master)
        if slave >= 0:
            os.close(slave)


def test_logs_tell_what_each_daemon_said(running: Running) -> None:
    document = running.cli("logs", "mn1", "--lab", LAB, "--json").document
    assert set(document) == {"mobile-node", "strongswan"}
    lines = running.cli("logs", "mn1", "mobile-node", "--lab", LAB).out.splitlines()
    assert json.loads(lines[0])["event"] == "ready"
    both = running.cli("logs", "mn1", "--lab", LAB).out.splitlines()
    assert {line.split(": ")[0] for line in both} == {"mobile-node", "strongswan"}
    assert "radvd, strongswan" in running.cli("logs", "ha1", "bind", "--lab", LAB, status=2).err
    follower = running.cli.start("logs", "mn1", "-f", "--lab", LAB)
    assert follower.stdout is not None
    try:
        ready, _, _ = select.select([follower.stdout], [], [], LIMIT)
        assert ready
    finally:
        follower.kill()
        follower.communicate()


def test_what_a_command_finds_wrong_is_told_as_json_too(running: Running) -> None:
    error = running.cli("bootstrap", "cn1", "--lab", LAB, "--json", status=1).error
    assert error["message"] == "cn1 is no mobile node"
    assert error["hint"] == "mobile nodes: mn1, mn2"


def test_a_lab_that_is_up_stays_as_it_is_when_it_is_brought_up_again(running: Running) -> None:
    before = running.cli.processes()
    again = running.cli("up", "third-party", "--lab", LAB, *FAST, status=1)
    assert f"lab {LAB!r} is up already" in again.err
    assert running.cli.processes() == before
    assert running.cli("status", "--lab", LAB, "--json").document["sound"] is True


def test_files_with_a_secret_can_be_read_by_their_owner_only(running: Running) -> None:
    secrets = _secrets(running.cli.state)
    assert len(secrets) >= 6
    holders = 0
    for path in running.cli.state.rglob("*"):
        if path.is_file():
            mode = path.stat().st_mode & 0o777
            content = path.read_bytes()
            if any(secret in content for secret in secrets):
                holders += 1
                assert mode == 0o600, path
            if path.parent.parent.name == "etc" or path.suffix == ".log":
                assert mode == 0o600, path
        elif path.is_socket():
            assert any(parent.stat().st_mode & 0o077 == 0 for parent in path.parents), path
    assert holders >= 7
    assert running.cli.state.stat().st_mode & 0o777 == 0o700


def test_no_secret_appears_in_a_log_an_output_or_a_command_line(running: Running) -> None:
    """Runs late: all that the commands of the tests above have said counts."""
    cli = running.cli
    for arguments in (
        ("status",),
        ("status", "--json"),
        ("bootstrap",),
        ("bootstrap", "--json"),
        *(("logs", host) for host in running.lab.plan.hosts),
    ):
        cli(*arguments, "--lab", LAB)
    secrets = _secrets(cli.state)
    texts = {f"output {n}": said.encode() for n, said in enumerate(cli.said)}
    texts |= {str(path): path.read_bytes() for path in cli.state.glob("*/nodes/*/lab/log/*")}
    texts |= {str(path): path.read_bytes() for path in cli.state.glob("*/nodes/*/lab/var/*/*.log")}
    texts |= {str(path): path.read_bytes() for path in cli.state.glob("*/nodes/*/lab/var/*/*.csv")}
    texts |= {f"command line of {pid}": line.encode() for pid, line in cli.processes().items()}
    assert len(texts) > 40
    assert [(name, secret) for name, text in texts.items() for secret in secrets if secret in text] == []


def test_up_tells_its_steps_and_its_result(tmp_path: Path) -> None:
    with command_line() as cli:
        up = cli("up", "third-party", "--lab", "told", *FAST, "--json")
        assert up.document["lab"] == "told"
        assert up.document["scenario"] == "third-party"
        (entry,) = up.document["bootstrapped"]
        assert entry["home_agent"] == "ha1.carrier.example"
        events = [json.loads(line) for line in up.err.splitlines()]
        steps = [event["detail"]["step"] for event in events if event["kind"] == "step"]
        assert steps == [
            *("attach", "router", "care-of address", "discovery", "ike", "home address", "tunnel", "registration"),
            "traffic",
        ]
        daemons = {event["source"] for event in events if event["kind"] == "daemon"}
        assert {"ar1/radvd", "ar1/kea", "ns1/bind", "aaa1/freeradius", "aaa2/freeradius", "ha1/home-agent"} <= daemons
        cli("down", "--lab", "told")
        person = cli("up", str(THIRD_PARTY), "--lab", "told", *FAST)
        assert person.err == ""
        for words in ("every daemon ready", "registration: ", "HOME ADDRESS", "the lab stays up; try", "--lab told"):
            assert words in person.out
        assert tmp_path.exists()
        assert cli("down", "--lab", "told", "--json").document == {"lab": "told", "removed": True}
        cli.assert_nothing_left()


def test_a_wrong_password_is_refused_and_leaves_no_binding(tmp_path: Path) -> None:
    def change(topology: dict[str, Any]) -> None:
        topology["mobile_nodes"]["mn1"]["credential"]["mistyped"] = True

    path = derived(tmp_path / "mistyped.yaml", change)
    with command_line() as cli:
        up = cli("up", path, "--lab", "wrong", *FAST, status=1)
        assert "error: mn1 at step 'ike': " in up.err
        assert "EAP" in up.err
        assert "lab 'wrong' stays up" in up.out
        told = cli("bootstrap", "--lab", "wrong", "--json", status=1).error
        assert (told["step"], told["where"]) == ("ike", "mn1")
        evidence = "\n".join(told["evidence"])
        assert re.search(r"EAP.*(failed|FAILURE|EAP_FAILURE)", evidence, re.IGNORECASE)
        assert "aaa2/freeradius: " in evidence
        lab = Lab("wrong", cli.state / "wrong", cli.saved("wrong"))
        agent = asyncio.run(result_of(agent_socket(lab.room("ha1")), {"op": "status"}, where="ha1"))
        assert (agent["bindings"], agent["owners"]) == ([], {})
        bound = cli("exec", "ha1", "--lab", "wrong", "--", "nft", "list", "set", "ip6", "mip6_guard", "bound").out
        assert "elements" not in bound
        assert not (lab.room("aaa2").lab / "var" / "freeradius" / "accounting.csv").exists()
        access = (lab.room("aaa2").lab / "var" / "freeradius" / "access.log").read_text()
        assert "reject user=mn1@corp.example" in access
        state = cli("status", "--lab", "wrong", "--json").document["bindings"][0]
        assert (state["state"], state["home_address"]) != ("registered", None)
        assert state["home_address"] is None
        secrets = _secrets(cli.state)
        assert [said for said in cli.said if any(secret.decode() in said for secret in secrets)] == []


def test_a_home_agent_with_another_name_is_not_trusted(tmp_path: Path) -> None:
    """The certificate is of the lab's own authority, and of another server than mn2 wants."""

    def change(topology: dict[str, Any]) -> None:
        topology["mobile_nodes"]["mn2"] = mobile_node("mn2")

    path = derived(tmp_path / "two.yaml", change)
    with command_line() as cli:
        cli.broken("wrong_name", "up", path, "--lab", "name", *FAST, "--no-bootstrap", status=0)
        told = cli("bootstrap", "mn2", "--lab", "name", "--json", status=1).error
        assert (told["step"], told["where"]) == ("ike", "mn2")
        assert "ha9.carrier.example" in "\n".join(told["evidence"])
        cli("bootstrap", "mn1", "--lab", "name")
        lab = Lab("name", cli.state / "name", cli.saved("name"))
        agent = asyncio.run(result_of(agent_socket(lab.room("ha1")), {"op": "status"}, where="ha1"))
        assert [binding["identity"] for binding in agent["bindings"]] == ["mn1@corp.example"]
        # its password was shown to nobody
        access = (lab.room("aaa2").lab / "var" / "freeradius" / "access.log").read_text()
        assert "mn2@corp.example" not in access


def test_two_labs_at_the_same_time_do_not_disturb_each_other() -> None:
    host = Host.now()
    with command_line() as cli:
        starts = [cli.start("up", "third-party", "--lab", name, *FAST, "--json") for name in ("one", "two")]
        for process in starts:
            assert cli.wait(process).document["bootstrapped"][0]["node"] == "mn1"
        again = [cli.start("bootstrap", "--lab", name, "--json") for name in ("one", "two")]
        (home,) = {cli.wait(process).document[0]["home_address"] for process in again}  # the same plan in both
        cli("down", "--lab", "one")
        assert cli("status", "--lab", "two", "--json").document["sound"] is True
        cli("exec", "cn1", "--lab", "two", "--", "ping", "-6", "-n", "-c", "1", "-w", "10", home)
        told = cli("status", "--lab", "one", status=1)
        assert "there is no lab 'one'" in told.err
        assert "two" in told.err
        cli("bootstrap", "--lab", "two")
        cli("down", "--lab", "two")
        cli.assert_nothing_left()
    host.assert_unchanged()


def _ends_of(packet: bytes) -> tuple[IPv6Address, IPv6Address]:
    return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])


def _ends(packets: list[tuple[IPv6Address, IPv6Address, bytes]]) -> list[tuple[IPv6Address, IPv6Address]]:
    return [(source, destination) for source, destination, _ in packets]


def _echoes(packets: list[bytes]) -> list[tuple[IPv6Address, IPv6Address, bytes]]:
    """The echo requests and replies in clear."""
    return [(*_ends_of(p), p) for p in packets if p[6] == _ICMPV6 and p[40] in _ECHO]


def _tunnelled(packets: list[bytes]) -> list[tuple[IPv6Address, IPv6Address]]:
    """The ends of the ESP packets, in UDP or not; IKE has four zeros in the place of the SPI."""

    def is_esp(packet: bytes) -> bool:
        if packet[6] != _UDP:
            return packet[6] == _ESP
        ports = int.from_bytes(packet[40:42], "big"), int.from_bytes(packet[42:44], "big")
        return _IKE_PORT in ports and len(packet) > 52 and packet[48:52] != bytes(4)

    return [_ends_of(packet) for packet in packets if is_esp(packet)]


def _neighbour_discovery(packets: list[bytes]) -> list[tuple[IPv6Address, IPv6Address, ndisc.Message]]:
    found = []
    for packet in packets:
        try:
            found.append(ndisc.decode_packet(packet))
        except WireError:
            continue
    return found


def _is_probe(source: IPv6Address, message: ndisc.Message, target: IPv6Address) -> bool:
    return source == ndisc.UNSPECIFIED and isinstance(message, ndisc.NeighborSolicitation) and message.target == target


def _defences(packets: list[bytes], target: IPv6Address) -> list[tuple[IPv6Address, IPv6Address, ndisc.Message]]:
    return [
        entry
        for entry in _neighbour_discovery(packets)
        if isinstance(entry[2], ndisc.NeighborAdvertisement) and entry[2].target == target and not entry[2].solicited
    ]


def _leg_mac(running: Running, node: str, network: str) -> str:
    return next(leg.mac for leg in running.lab.plan.hosts[node].legs if leg.network == network)


def _journal(room: Room, agent: str = "mobile-node") -> list[dict[str, Any]]:
    """What an agent has told; a line that is being written is left out."""
    text = (room.lab / "log" / f"{agent}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


def _sessions(running: Running, node: str) -> list[tuple[str, str, str, str]]:
    return [
        (row["status"], row["user"], row["home-address"], row["nas"])
        for row in running.accounting()
        if row["user"] == f"{node}@corp.example" and row["status"] != "interim"
    ]


def _mobility(source: IPv6Address, destination: IPv6Address, message: wire.Message) -> bytes:
    return wire.build(source, destination, wire.MOBILITY, wire.encode(message, source, destination))


def _inject(running: Running, node: str, packet: bytes) -> None:
    """Have a node send a packet, whatever its source: the kernel routes it."""
    with in_namespace(running.room(node).init.pid):
        sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sender:
        sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        sender.bind((str(IPv6Address(packet[8:24])), 0))  # for the choice of the route, too
        sender.sendto(packet, (str(IPv6Address(packet[24:40])), 0))


def _on_the_wire(running: Running, node: str, network: str, router: str, packet: bytes) -> None:
    """Put a packet on a node's wire, past its kernel, addressed to a router."""
    source, target = (_leg_mac(running, name, network) for name in (node, router))
    frame = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in (target, source)) + b"\x86\xdd" + packet
    with in_namespace(running.room(node).init.pid):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IPV6))
        sender.bind((running.lab.plan.hosts[node].legs[0].name, 0))
    with sender:
        sender.send(frame)


def _after_the_tunnel(running: Running, home: IPv6Address) -> None:
    """Wait until the home agent has judged a Binding Update that mn2 sent through its tunnel after the others."""
    # an update with a sequence number of long ago is refused, and the refusal is told
    known = running.bindings()[str(home)]
    stale = (known["sequence"] - 100) & 0xFFFF
    update = running.update(home, running.care_of_address("mn2"), stale)

    def judged(check: Callable[[dict[str, Any]], bool]) -> int:
        return len([e for e in _journal(running.room("ha1"), "home-agent") if check(e)])

    def told(entry: dict[str, Any]) -> bool:
        return bool(entry["event"] == "binding acknowledgement" and entry["meaning"] == "SEQUENCE_NUMBER_OUT_OF_WINDOW")

    before = judged(told)
    _inject(running, "mn2", _mobility(home, running.agent, update))
    until(lambda: judged(told) > before)


def _until_said(master: int, words: bytes, said: bytes) -> bytes:
    while words not in said:
        ready, _, _ = select.select([master], [], [], LIMIT)
        assert ready, said
        said += os.read(master, 4096)
    return said


def _secrets(state: Path) -> set[bytes]:
    """Every secret that stands in a rendered file of the labs below a folder: found by form, not by the plan."""
    found: set[str] = set()
    for path in state.glob("*/nodes/*/lab/etc/*/*"):
        text = path.read_text()
        found.update(re.findall(r'(?:secret = |Cleartext-Password := |"password": )"([^"]+)"', text))
        for key in re.findall(r"-----BEGIN PRIVATE KEY-----(?:\\n|\n)(.+?)-----END", text):
            found.update(line for line in re.split(r"\\n|\n", key) if len(line) > 20)
    return {secret.encode() for secret in found}
