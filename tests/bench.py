"""``make bench``: how long a lab takes, step by step, side by side, medians of several runs.

Needs root. Nothing here passes or fails: figures depend on the machine, ratios less so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.runtime.fabric import wire
from testbed.runtime.mininet import MininetRuntime
from testbed.topology.load import load
from testbed.topology.plan import Esp, Plan, make_plan
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.runtime.base import Room

ROOT = Path(__file__).parents[1]
TOPOLOGY = ROOT / "topologies" / "third-party.yaml"
TESTBED = (sys.executable, "-m", "testbed")
LAB = "bench"


@dataclass
class Figures:
    """Seconds by name, of several runs, in the order in which names first came."""

    runs: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, seconds: float) -> None:
        """Note one run's figure."""
        self.runs[name].append(seconds)

    def median(self, name: str) -> float:
        """Return the median of a figure."""
        return statistics.median(self.runs[name])

    def show(self, title: str, whole: str = "") -> None:
        """Print a table; with ``whole`` each figure's share of that one."""
        print(f"\n{title}")
        for name, values in self.runs.items():
            share = f"{statistics.median(values) / self.median(whole):6.0%}" if whole else ""
            spread = f"[{min(values) * 1e3:.1f} - {max(values) * 1e3:.1f}]"
            print(f"  {name:34}{statistics.median(values) * 1e3:10.1f} ms {spread:>20} {share}")


def testbed(*arguments: str) -> tuple[float, list[dict[str, object]], str]:
    """Run the testbed as a process, and return its seconds, its events and its output."""
    began = time.perf_counter()
    done = subprocess.run([*TESTBED, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return seconds, events, done.stdout


def labs(runs: int) -> None:
    """Measure whole labs: from the command line to all daemons ready, the bootstrap, the removal."""
    lab, steps = Figures(), {timers: Figures() for timers in ("fast", "standard")}
    for _ in range(runs):
        for timers, figures in steps.items():
            ready, events, _ = testbed(
                "up", str(TOPOLOGY), "--lab", LAB, "--timers", timers, "--no-bootstrap", "--json"
            )
            phases = {
                str(e["source"]): float(str(e["seconds"])) for e in events if e["kind"] == "phase" and e["seconds"]
            }
            _, events, _ = testbed("bootstrap", "--lab", LAB, "--json")
            bootstrap(figures, events)
            removal, _, _ = testbed("down", "--lab", LAB, "--json")
            lab.add("nothing to all daemons ready", ready)
            for name, seconds in phases.items():
                lab.add(f"  of it {name}", seconds)
            lab.add("  of it start, load, plan, render", ready - sum(phases.values()))
            lab.add("down", removal)
    lab.show(f"a lab, whole processes, {2 * runs} runs", "nothing to all daemons ready")
    for timers, figures in steps.items():
        figures.show(f"bootstrap with timers: {timers}, {runs} runs", "bootstrap")


def bootstrap(figures: Figures, events: list[dict[str, object]]) -> None:
    """Note the steps of one bootstrap."""
    taken = [
        (str(e["text"]).partition(":")[0], float(str(e["seconds"])), float(str(e["waiting"])))
        for e in events
        if e["seconds"]
    ]
    for name, seconds, _ in taken:
        figures.add(name, seconds)
    total, waiting = sum(s for _, s, _ in taken), sum(w for _, _, w in taken)
    figures.add("bootstrap", total)
    figures.add("  imposed by protocols", waiting)
    figures.add("  beyond that", total - waiting)


async def fabrics(runs: int) -> None:
    """Compare wiring by netlink in batches with one ``ip`` process a step, in turn, on the same plan."""
    plan = make_plan(load(TOPOLOGY), {}, Esp.USERLAND)
    figures = Figures()
    ways: dict[str, Callable[[Plan, dict[str, Room]], None]] = {
        "netlink, in batches": wire,
        "ip, a process a step": wire_by_ip,
    }
    for _ in range(runs):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir="/run", prefix="bench-") as folder:
                nodes = Path(folder) / "nodes"
                names = ["fabric", *plan.hosts]
                for node in names:
                    etc = nodes / node / "lab" / "etc"
                    etc.mkdir(parents=True)
                    for file in ("hosts", "resolv.conf"):
                        (etc / file).touch()
                began = time.perf_counter()
                rooms = await MininetRuntime().create(names, nodes)
                figures.add("nodes made", time.perf_counter() - began)
                began = time.perf_counter()
                way(plan, rooms)
                figures.add(name, time.perf_counter() - began)
                for room in rooms.values():
                    room.init.kill()
                await wait_until(partial(gone, rooms), deadline=10, what="all nodes are gone")
    figures.show(f"wiring of {len(plan.hosts)} nodes and {len(plan.wires)} networks, {runs} runs each")
    ratio = figures.median("ip, a process a step") / figures.median("netlink, in batches")
    print(f"  ratio {ratio:.1f}")


def gone(rooms: dict[str, Room]) -> None:
    """Hold once no node runs any more."""
    if any(room.init.alive for room in rooms.values()):
        raise Unmet


def wire_by_ip(plan: Plan, rooms: dict[str, Room]) -> None:
    """Wire a plan as a shell script would: the same links, addresses and routes, a process each."""
    fabric = rooms["fabric"].init.pid

    def ip(pid: int, *arguments: object) -> None:
        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *map(str, arguments)], check=True)

    for entry in plan.wires.values():
        ip(fabric, "link", "add", "name", entry.name, "index", entry.index, "type", "bridge")
        ip(fabric, "link", "set", "dev", entry.name, "up")
    for host in plan.hosts.values():
        pid = rooms[host.name].init.pid
        for leg in host.legs:
            pair = ("name", leg.port, "index", leg.port_index, "type", "veth", "peer", "name", leg.name)
            ip(fabric, "link", "add", *pair, "index", leg.index, "address", leg.mac, "netns", pid)
            ip(fabric, "link", "set", "dev", leg.port, "master", leg.network, "up")
            if leg.address:
                ip(pid, "link", "set", "dev", leg.name, "up")
                ip(pid, "-6", "address", "add", leg.address, "dev", leg.name, "nodad")
        for route in host.routes:
            ip(pid, "-6", "route", "add", route.destination, "via", route.via)


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description="Measure labs; prints medians [least - most].")
    parser.add_argument("--runs", type=int, default=5, help="runs of each")
    runs = parser.parse_args().runs
    if os.geteuid():
        sys.exit("labs need root")
    load_average = Path("/proc/loadavg").read_text().split()[0]
    print(f"{os.cpu_count()} processors, load average {load_average} at the start")
    labs(runs)
    asyncio.run(fabrics(runs))


if __name__ == "__main__":
    main()
