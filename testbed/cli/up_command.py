"""``testbed up``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from testbed.bootstrap import Bootstrapped, bootstrap
from testbed.cli import lab_argument, program_name
from testbed.cli.bootstrap_command import show
from testbed.cli.scenarios import find
from testbed.errors import BootstrapError
from testbed.lab import DEFAULT_NAME, Lab, down, folder_of, up
from testbed.runtime.mininet import MininetRuntime
from testbed.topology.model import NetworkKind, Service, Timers

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenario", help="a scenario's name or the path of a topology file")
    parser.add_argument(
        "--timers",
        choices=[timers.value for timers in Timers],
        default=None,
        help="the RFCs' own, or shortened; default: what the topology says",
    )
    parser.add_argument("--runtime", choices=["mininet"], default="mininet", help="what the nodes are made of")
    parser.add_argument("--no-bootstrap", action="store_true", help="leave the mobile nodes as they are: not attached")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Bring a lab up; a lab whose bootstrap fails stays up, to be looked at."""
    folder_of(options.lab)  # a wrong name is told before anything is read
    began = time.monotonic()
    path = find(options.scenario)
    timers = Timers(options.timers) if options.timers else None
    console.heading(f"{path.stem}: bringing lab {options.lab!r} up")
    lab = await up(path, options.lab, timers, MininetRuntime(), console.event)
    console.heading(f"every daemon ready {time.monotonic() - began:.2f} s after the start")
    done: list[Bootstrapped] = []
    try:
        if not options.no_bootstrap:
            console.heading("bootstrapping")
            done = await bootstrap(lab, [], console.event)
            show(done, console)
        _what_next(lab, done, console)
        console.result({"lab": lab.name, "scenario": path.stem, "bootstrapped": [entry.__dict__ for entry in done]})
        await asyncio.sleep(0)  # an interrupt that came meanwhile is raised here
    except BootstrapError:
        console.text(f"lab {lab.name!r} stays up: testbed status{_named(lab)}, testbed down{_named(lab)}\n")
        raise
    except asyncio.CancelledError:
        await down(lab.name)
        raise
    return 0


def _what_next(lab: Lab, done: list[Bootstrapped], console: Console) -> None:
    tries = [("status", "nodes, daemons, bindings from both ends")]
    if done:
        home, node = done[0].home_address, done[0].node
        tries += [
            (f"exec {host.name} -- ping {home}", "reach the mobile node at its home address")
            for host in lab.plan.hosts_with(Service.CORRESPONDENT)[:1]
        ]
        others = [n for n, wire in lab.plan.wires.items() if wire.network.kind is NetworkKind.ACCESS]
        tries += [(f"move {node} {network}", "take it to another network") for network in others[1:2]]
        tries.append((f"logs {node}", "what the mobile node did"))
    tries += [("cli", "Mininet's prompt"), ("down", "remove the lab")]
    program, option = program_name(), _named(lab)
    commands = [(f"{program} {_with(command, option)}", text) for command, text in tries]
    width = max(len(command) for command, _ in commands)
    lines = "".join(f"  {command:{width}}  {text}\n" for command, text in commands)
    console.text(f"\nthe lab stays up; try\n{lines}")


def _with(command: str, option: str) -> str:
    head, dashes, program = command.partition(" -- ")
    return f"{head}{option}{dashes}{program}"


def _named(lab: Lab) -> str:
    return "" if lab.name == DEFAULT_NAME else f" --lab {lab.name}"
