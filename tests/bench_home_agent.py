"""``make bench``, second part: one home agent process with thousands of bindings, under Binding Updates in clear.

The load comes from a node beside the home agent, with at most ``WINDOW`` updates unanswered, then at a fixed rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from testbed.daemons.agents import HOME_AGENT
from testbed.lab import Lab, down, up
from testbed.mip6 import wire
from testbed.netlink import in_namespace
from testbed.process import start
from testbed.runtime.mininet import MininetRuntime
from testbed.topology.model import Timers
from testbed.wait import wait_until

if TYPE_CHECKING:
    from ipaddress import IPv6Address

ROOT = Path(__file__).parents[1]
LAB = "bench-ha"
WINDOW = 128
UNITS = 900
RATE = 2500  # updates per second for the latency: half of 5,000
_IPV6_HDRINCL, _ETH_P_ALL, _ETH_P_IPV6 = 36, 3, 0x86DD
_SO_RCVBUFFORCE = 33


class Load:
    """Sends Binding Updates for many home addresses and waits for their acknowledgements."""

    def __init__(self, lab: Lab, homes: list[IPv6Address]) -> None:
        self._agent = lab.plan.home_agent_address(lab.plan.hosts["ha1"])
        self._here = lab.plan.hosts["load"].address
        self._homes = homes
        self._index = {home.packed: number for number, home in enumerate(homes)}
        self._sequences = [0] * len(homes)
        room = lab.rooms["load"]
        drop = "add table netdev quiet\n"
        drop += 'add chain netdev quiet in { type filter hook ingress device "carrier" priority 0; }\n'
        drop += "add rule netdev quiet in rt type 2 drop\n"
        subprocess.run(room.command(["nft", "-f", "-"]), input=drop, text=True, check=True)
        with in_namespace(room.init.pid):
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._out.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._in.setblocking(False)

    def packets(self) -> list[bytes]:
        """Build one update for each home address."""
        built = []
        for number, home in enumerate(self._homes):
            self._sequences[number] = (self._sequences[number] + 1) % 65536
            update = wire.BindingUpdate(self._sequences[number], wire.BindingFlags.A | wire.BindingFlags.H, UNITS)
            octets = wire.encode(update, home, self._agent)
            built.append(wire.build(self._here, self._agent, wire.MOBILITY, octets, home_address_option=home))
        return built

    def flood(self, packets: list[bytes]) -> float:
        """Send all, with at most ``WINDOW`` unanswered, and return the seconds until the last answer."""
        destination = (str(self._agent), 0)
        began, sent, answered, heard = time.perf_counter(), 0, 0, time.perf_counter()
        while answered < len(packets):
            while sent < len(packets) and sent - answered < WINDOW:
                self._out.sendto(packets[sent], destination)
                sent += 1
            select.select([self._in], [], [], 1)
            fresh = len(self.answers())
            answered += fresh
            heard = time.perf_counter() if fresh else heard
            if time.perf_counter() - heard > 10:
                sys.exit(f"{answered} of {sent} updates were acknowledged, then none for 10 s")
        return time.perf_counter() - began

    def paced(self, packets: list[bytes], rate: int) -> list[float]:
        """Send at a fixed rate, and return the seconds that each acknowledgement took."""
        destination = (str(self._agent), 0)
        times: list[float] = [0.0] * len(packets)
        took: list[float] = []
        began, sent = time.perf_counter(), 0
        while len(took) < len(packets):
            now = time.perf_counter()
            while sent < len(packets) and now >= began + sent / rate:
                times[sent] = time.perf_counter()
                self._out.sendto(packets[sent], destination)
                sent += 1
            select.select([self._in], [], [], 0.0005)
            took.extend(time.perf_counter() - times[number] for number in self.answers())
        return took

    def answers(self) -> list[int]:
        """Read which home addresses were acknowledged; statuses other than success end the benchmark."""
        found: list[int] = []
        while True:
            try:
                octets, (_, protocol, kind, _, _) = self._in.recvfrom(2048)
            except BlockingIOError:
                return found
            if protocol != _ETH_P_IPV6 or kind == socket.PACKET_OUTGOING or octets[6] != 43:
                continue
            if octets[66] != 6 or octets[70] != 0:
                sys.exit(f"an answer of type {octets[66]}, status {octets[70]}")
            found.append(self._index[octets[48:64]])


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Return the resident memory of a process, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def measure(number: int) -> None:
    """Bring a home agent up that knows ``number`` mobile nodes, and load it."""
    document = yaml.safe_load((ROOT / "topologies" / "unprotected.yaml").read_text())
    document["nodes"]["load"] = {"networks": ["carrier"]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        lab = await up(path, LAB, Timers.FAST, MininetRuntime(), lambda _: None)
    try:
        prefix = lab.plan.home_link(lab.plan.hosts["ha1"]).prefix
        homes = [prefix[0x20000 + index] for index in range(number)]
        pid = await restart(lab, homes)
        load = Load(lab, homes)
        before = memory(pid)
        first = load.flood(load.packets())
        grown = (memory(pid) - before) * 1024 / number
        print(f"{number} bindings made in {first:.2f} s, {grown:.0f} octets of memory each")
        for _ in range(3):
            packets = load.packets()
            used = processor_seconds(pid)
            took = load.flood(packets)
            used = processor_seconds(pid) - used
            each = used / number
            print(f"  {number / took:.0f} refreshes/s, {each * 1e6:.0f} us of processor each: {1 / each:.0f}/s a core")
        for rate in (RATE // 2, RATE):
            times = sorted(load.paced(load.packets(), rate))
            print(
                f"  at {rate}/s: median {times[number // 2] * 1e3:.2f} ms, p99 {times[number * 99 // 100] * 1e3:.2f} ms"
            )
    finally:
        await down(LAB)


async def restart(lab: Lab, homes: list[IPv6Address]) -> int:
    """Start the home agent again with other mobile nodes, and return its PID."""
    room = lab.rooms["ha1"]
    path = room.lab / "etc" / "home-agent" / "home-agent.json"
    configuration = json.loads(path.read_text())
    entry = configuration["mobile_nodes"][0]
    configuration["mobile_nodes"] = [
        {**entry, "home_address": str(home), "nai": f"n{index}@carrier.example"} for index, home in enumerate(homes)
    ]
    path.write_text(json.dumps(configuration))
    old = next(entry.process for entry in lab.saved.running if (entry.node, entry.daemon) == ("ha1", "home-agent"))
    os.killpg(old.pid, signal.SIGKILL)
    (room.lab / "var" / "home-agent" / "control").unlink()
    process = await start(room.command(HOME_AGENT.command), log=HOME_AGENT.log(room), environment=room.mark)
    await wait_until(lambda: HOME_AGENT.ready(room), deadline=30, what=HOME_AGENT.ready_means)
    return child(process.pid)


def child(pid: int) -> int:
    """Return the PID of the only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Load one home agent; prints figures.")
    parser.add_argument("--bindings", type=int, default=10_000)
    asyncio.run(measure(parser.parse_args().bindings))


if __name__ == "__main__":
    main()
