"""What is played inside the guest: a mobile node's whole life in third-party, written down in /run/guest.

Judges little: ``results.json`` and the captures there are for ``test_kernel_esp``, which looks at them from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import time
from dataclasses import asdict
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.bootstrap import agent_socket
from testbed.lab import Lab, find
from testbed.mip6 import wire
from testbed.mip6.control import result_of
from testbed.netlink import in_namespace
from testbed.status import status

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTBED = str(Path(__file__).parents[2] / ".venv" / "bin" / "testbed")
GUEST = Path("/run/guest")
LAB = "uml"
LIMIT = 60.0  # seconds that a command may take
CORRESPONDENT = "2001:db8:1::2"
_IPV6_FREEBIND = 78  # linux/in6.h
_ECHO = ("ping", "-6", "-n", "-c", "1", "-w", "3")


def command(*arguments: str, code: int | None = 0) -> Any:
    """Run a command of the testbed's, and return what it says in JSON."""
    words = [TESTBED, *arguments, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert code in (None, done.returncode), f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


class Play:
    """The lab, and what to do in it."""

    def __init__(self) -> None:
        self.lab: Lab = find(LAB)
        self.home = IPv6Address(0)
        self.agent = self.lab.plan.home_agent_address(self.lab.plan.hosts["ha1"])

    def run(self, node: str, *program: str) -> subprocess.CompletedProcess[str]:
        command = self.lab.room(node).command(program)
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)

    def echoes(self) -> dict[str, bool]:
        """Say which way an echo request is answered: from the home address, to the home address."""
        ways = {
            "there": self.lab.room("mn1").command((*_ECHO, "-I", str(self.home), CORRESPONDENT)),
            "back": self.lab.room("cn1").command((*_ECHO, str(self.home))),
        }
        running = {way: subprocess.Popen(command, stdout=subprocess.DEVNULL) for way, command in ways.items()}
        return {way: process.wait(LIMIT) == 0 for way, process in running.items()}

    def binding(self) -> dict[str, Any]:
        """Tell the binding as the mobile node sees it, and whether the home agent agrees."""
        return asdict(asyncio.run(status(self.lab)).bindings[0])

    def next_sequence(self) -> int:
        """Return the sequence number that the next Binding Update has to have."""
        told = asyncio.run(result_of(agent_socket(self.lab.room("mn1")), {"op": "status"}, where="mn1"))
        return (int(told["sequence"]) + 1) % (1 << 16)

    def spis(self) -> list[str]:
        """Give the SPIs of the mobile node's security associations in the kernel."""
        return sorted(re.findall(r"spi (0x[0-9a-f]+) ", self.run("mn1", "ip", "xfrm", "state").stdout))

    def dropped(self, node: str, why: str) -> int:
        """Count what a node's guard dropped for a reason."""
        shown = self.run(node, "ip6tables-legacy", "-L", "-v", "-x", "-n").stdout
        return sum(int(line.split()[0]) for line in shown.splitlines() if f"/* {why} */" in line)

    def deletion(self) -> bytes:
        """Make a packet that deletes the binding, if it is believed to be the mobile node's."""
        flags = wire.BindingFlags.A | wire.BindingFlags.H
        message = wire.BindingUpdate(self.next_sequence(), flags, 0, (wire.AlternateCareOfAddress(self.home),))
        octets = wire.encode(message, self.home, self.agent)
        return wire.build(self.home, self.agent, wire.MOBILITY, octets)

    def send(self, node: str, packet: bytes) -> None:
        """Have a node send a packet, whatever its source."""
        with in_namespace(self.lab.room(node).init.pid):
            sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with sender:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            sender.bind((str(IPv6Address(packet[8:24])), 0))
            sender.sendto(packet, (str(IPv6Address(packet[24:40])), 0))

    @contextlib.contextmanager
    def captured(self, node: str, interface: str, name: str) -> Iterator[None]:
        """Capture on an interface into a file of the guest's folder."""
        path, report = GUEST / f"{name}.pcap", GUEST / f"{name}.txt"
        with report.open("wb") as said:
            process = subprocess.Popen(
                [
                    *("nsenter", "-t", str(self.lab.room(node).init.pid), "-n", "--"),
                    *("tcpdump", "-n", "-p", "--immediate-mode", "-U", "-Z", "root", "-i", interface, "-w", str(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        try:
            wait_for(lambda: "listening on" in report.read_text())
            yield
            time.sleep(0.2)  # what is on its way gets into the file
        finally:
            process.terminate()
            process.wait(LIMIT)


def wait_for(condition: Any) -> None:
    """Ask a condition until it holds."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "a condition did not hold in time"
        time.sleep(0.01)


def away(play: Play) -> dict[str, Any]:
    """Bootstrap, and move to another access network; all of it captured where it crosses the core."""
    with play.captured("core", "visited", "visited"), play.captured("core", "carrier", "carrier"):
        bootstrapped = command("bootstrap", "--lab", LAB)[0]
        play.home = IPv6Address(bootstrapped["home_address"])
        first = {"binding": play.binding(), "spis": play.spis(), "echoes": play.echoes()}
        moved = command("move", "mn1", "access2", "--lab", LAB)
        second = {"binding": play.binding(), "spis": play.spis(), "echoes": play.echoes()}
    return {"bootstrapped": bootstrapped, "first": first, "moved": moved, "second": second}


def forged(play: Play) -> dict[str, Any]:
    """Send a Binding Update in clear that deletes the binding."""
    before = play.binding()
    at_home_agent = play.dropped("ha1", "mobility header in clear")
    play.send("cn1", play.deletion())
    wait_for(lambda: play.dropped("ha1", "mobility header in clear") > at_home_agent)
    return {"before": before, "after": play.binding(), "echoes": play.echoes()}


def unbound(play: Play) -> dict[str, Any]:
    """Delete the binding through the tunnel behind the agent's back: the tunnel stands, and carries nothing."""
    play.send("mn1", play.deletion())
    wait_for(lambda: play.binding()["disagreement"] == "no binding")
    spis, echoes = play.spis(), play.echoes()
    return {
        "spis": spis,
        "echoes": echoes,
        "reverse": play.dropped("ha1", "reverse tunnel without a binding"),
        "forward": play.dropped("ha1", "tunnel without a binding"),
    }


def without_association(play: Play) -> dict[str, Any]:
    """Take the security associations and policies away under the mobile node, and have it send: the last part."""
    command("bootstrap", "--lab", LAB)
    with play.captured("mn1", "eth0", "without-association"):
        play.run("mn1", "ip", "xfrm", "policy", "flush")
        play.run("mn1", "ip", "xfrm", "state", "flush")
        echoes = play.echoes()
    return {"echoes": echoes, "dropped": play.dropped("mn1", "home address outside the tunnel")}


def home_and_away(play: Play) -> dict[str, Any]:
    """Bootstrap anew, return home, go away again, deregister."""
    again = command("bootstrap", "--lab", LAB)[0]
    home = command("move", "mn1", "home", "--lab", LAB)
    at_home = {"binding": play.binding(), "spis": play.spis(), "echoes": play.echoes()}
    moved = command("move", "mn1", "access1", "--lab", LAB)
    elsewhere = {"binding": play.binding(), "spis": play.spis(), "echoes": play.echoes()}
    command("deregister", "mn1", "--lab", LAB)
    own = play.run("mn1", "ip", "-6", "-o", "address", "show", "to", str(play.home)).stdout
    end = {"binding": play.binding(), "spis": play.spis(), "addresses": own}
    return {"again": again, "home": home, "at_home": at_home, "moved": moved, "elsewhere": elsewhere, "end": end}


def main() -> None:
    """Play it, and write down what came of it."""
    results: dict[str, Any] = {"doctor": command("doctor", code=None)}
    try:
        began = time.monotonic()
        results["up"] = command("up", "third-party", "--timers", "fast", "--lab", LAB, "--no-bootstrap")
        results["up_seconds"] = time.monotonic() - began
        play = Play()
        results["esp"] = play.lab.saved.esp
        for part in (away, forged, unbound, home_and_away, without_association):
            began = time.monotonic()
            results[part.__name__] = {**part(play), "seconds": time.monotonic() - began}
        log = play.lab.room("aaa2").lab / "var" / "freeradius" / "accounting.csv"
        results["accounting"] = log.read_text().splitlines()
        results["status"] = command("status", "--lab", LAB, code=None)
        results["down"] = command("down", "--lab", LAB)
        results["left"] = sorted(map(str, Path("/run/testbed").rglob("*")))
        results["uptime"] = float(Path("/proc/uptime").read_text().split()[0])
    finally:
        if "left" not in results:
            for log in Path("/run/testbed").glob("*/nodes/*/lab/log/*"):
                (GUEST / f"{log.parts[-4]}-{log.name}").write_bytes(log.read_bytes())
        (GUEST / "results.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
