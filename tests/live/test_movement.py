"""Handover, ping-pong, returning home, deregistration, recovery: live, in the third-party scenario."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import FAST, LIMIT, THIRD_PARTY, Capture, Cli, command_line, needs_root
from veth import until

from testbed.bootstrap import agent_socket
from testbed.daemons.agents import HOME_AGENT
from testbed.lab import Lab
from testbed.mip6 import wire
from testbed.mip6.control import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, needs_root]

LAB = "move"
CORRESPONDENT = "2001:db8:1::2"
MOVES = 20
STREAM = str(Path(__file__).with_name("stream.py"))
UDP, IKE = 17, 4500


class Running:
    """The lab of this module, and what to ask of it."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.lab = Lab(LAB, cli.state / LAB, cli.saved(LAB))

    def move(self, network: str) -> dict[str, Any]:
        return dict(self.cli("move", "mn1", network, "--lab", LAB, "--json").document)

    def status(self, *, sound: bool = True) -> dict[str, Any]:
        """Give mn1's line of the status."""
        document = self.cli("status", "--lab", LAB, "--json", status=0 if sound else 1).document
        return dict(document["bindings"][0])

    def bindings(self) -> list[dict[str, Any]]:
        """Give the bindings that the home agent has."""
        path = agent_socket(self.lab.room("ha1"))
        return list(asyncio.run(result_of(path, {"op": "status"}, where="ha1"))["bindings"])

    def start(self, node: str, *program: str) -> subprocess.Popen[str]:
        """Start a program in a node, with its output to read."""
        command = self.lab.room(node).command(program)
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.cli.environment
        )


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with command_line() as cli:
        cli("up", str(THIRD_PARTY), "--lab", LAB, *FAST)
        yield Running(cli)


def test_a_handover_takes_the_binding_to_the_new_network(running: Running) -> None:
    before = running.status()
    moved = running.move("access2")
    after = running.status()
    assert moved["care_of_address"] != before["care_of_address"]
    assert moved["home_address"] == before["home_address"]
    assert after["state"] == "registered"
    assert after["care_of_address"] == moved["care_of_address"]
    assert not after["disagreement"]
    assert [entry["care_of_address"] for entry in running.bindings()] == [moved["care_of_address"]]


def test_after_a_handover_nothing_of_the_old_network_is_left_on_the_interface(running: Running) -> None:
    running.move("access1")
    running.move("access2")
    shown = running.cli("exec", "mn1", "--lab", LAB, "--", "ip", "-6", "route", "show", "default").out
    assert len(shown.splitlines()) == 1
    addresses = running.cli("exec", "mn1", "--lab", LAB, "--", "ip", "-6", "address", "show", "dev", "eth0").out
    assert addresses.count("scope global") == 1


def test_binding_updates_of_a_handover_are_inside_the_tunnel(running: Running, tmp_path: Path) -> None:
    room = running.lab.room("mn1")
    with Capture(room, "eth0", tmp_path) as capture:
        running.move("access1")
        packets = [wire.walk(packet) for packet in capture.stop()]
    assert not [packet for packet in packets if packet.next_header == wire.MOBILITY]
    assert [packet for packet in packets if packet.next_header == UDP and str(packet.destination) == _agent(running)]


def test_a_tcp_stream_survives_moves_with_no_octet_lost_or_repeated(running: Running) -> None:
    home = str(running.status()["home_address"])
    server = running.start("cn1", sys.executable, STREAM, "serve", CORRESPONDENT)
    client = None
    try:
        assert server.stdout
        assert server.stdout.readline() == "listening\n"
        client = running.start("mn1", sys.executable, STREAM, "send", home, CORRESPONDENT)
        assert client.stdout
        assert client.stdout.readline() == "connected\n"
        for number in range(MOVES):
            running.move(("access2", "access1")[number % 2])
        sent, _ = client.communicate(timeout=LIMIT)
        received, _ = server.communicate(timeout=LIMIT)
    finally:
        for process in (server, client):
            if process:
                process.kill()
                process.wait()
    numbers = [int(word.strip(",")) for word in sent.split() if word.strip(",").isdigit()]
    assert numbers[0] == numbers[1] > MOVES
    assert received == f"received {numbers[0]}\n"


def test_a_mobile_node_that_returns_home_uses_its_home_address_there(running: Running) -> None:
    home = running.status()["home_address"]
    moved = running.move("home")
    assert moved["at_home"]
    assert running.bindings() == []
    assert running.status()["state"] == "at home"
    addresses = running.cli("exec", "mn1", "--lab", LAB, "--", "ip", "-6", "address", "show", "dev", "eth0").out
    assert f"{home}/64" in addresses
    assert (
        "inet6" not in running.cli("exec", "ha1", "--lab", LAB, "--", "ip", "-6", "route", "show", "table", "220").out
    )


def test_a_mobile_node_that_leaves_home_bootstraps_again_with_the_same_home_address(running: Running) -> None:
    home = running.status()["home_address"]
    if running.status()["state"] != "at home":
        running.move("home")
    moved = running.move("access1")
    assert not moved["at_home"]
    assert moved["home_address"] == home
    assert [entry["home_address"] for entry in running.bindings()] == [home]


def test_plugging_into_the_same_network_keeps_everything(running: Running) -> None:
    before = running.status()
    moved = running.move("access1")
    assert moved["care_of_address"] == before["care_of_address"]
    assert running.status()["state"] == "registered"


def test_deregistering_leaves_no_binding_and_tells_the_accounting(running: Running) -> None:
    home = running.status()["home_address"]
    answer = running.cli("deregister", "mn1", "--lab", LAB, "--json").document
    assert answer == {"node": "mn1", "home_address": home}
    assert running.bindings() == []
    assert running.status()["state"] == "idle"
    records = running.lab.room("aaa2").lab / "var" / "freeradius" / "accounting.csv"
    until(lambda: records.read_text().splitlines()[-1].split(",")[1] == "stop")
    again = running.cli("deregister", "mn1", "--lab", LAB, status=1)
    assert "it is not registered" in again.err
    running.cli("bootstrap", "mn1", "--lab", LAB)


def test_a_mobile_node_whose_security_association_the_home_agent_ends_recovers(running: Running) -> None:
    before = running.status()

    sequence = running.bindings()[0]["sequence"]
    vici = ("--uri", "unix:///run/lab/var/strongswan/vici")
    end = ("swanctl", "--terminate", "--ike", "by-name", *vici)
    running.cli("exec", "ha1", "--lab", LAB, "--", *end)
    until(lambda: [entry["sequence"] for entry in running.bindings()] not in ([], [sequence]))
    until(lambda: running.status()["state"] == "registered")
    assert running.status()["home_address"] == before["home_address"]


def test_a_home_agent_that_starts_again_knows_no_binding_until_the_mobile_node_tells(running: Running) -> None:
    home = running.status()["home_address"]
    room = running.lab.room("ha1")
    running.cli("exec", "ha1", "--lab", LAB, "--", "pkill", "-KILL", "-f", "testbed.mip6.home_agent")
    control = room.lab / "var" / "home-agent" / "control"
    control.unlink()
    with running.start("ha1", *HOME_AGENT.command) as agent:
        try:
            until(control.exists)
            until(lambda: running.bindings() == [])
            assert running.status(sound=False)["disagreement"] == "no binding"
            running.move("access2")
            assert [entry["home_address"] for entry in running.bindings()] == [home]
            running.move("access1")
        finally:
            agent.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mn1", "core"), "there is no network"),
        (("mn1", "internet"), "cannot attach"),
        (("ha1", "access1"), "no mobile node"),
        (("mn9", "access1"), "there is no node"),
    ],
)
def test_a_move_that_cannot_be_is_refused(running: Running, arguments: tuple[str, str], said: str) -> None:
    done = running.cli("move", *arguments, "--lab", LAB, status=1)
    assert said in done.err
    assert "hint:" in done.err


def _agent(running: Running) -> str:
    return str(running.lab.plan.home_agent_address(running.lab.plan.hosts["ha1"]))
