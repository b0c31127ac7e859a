"""``testbed exec``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.errors import UsageError
from testbed.lab import find
from testbed.process import run as run_process

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console

RUNS_PROGRAMS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; the program stands after ``--``."""
    parser.usage = "testbed exec [--lab NAME] [--json] NODE -- PROGRAM [ARGUMENT ...]"
    parser.add_argument("node", metavar="NODE", help="a node of the lab")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Become a program in a node; with ``--json`` wait for it and print its status and output."""
    program = options.program
    if not program:
        raise UsageError("there is no program to run", hint=f"testbed exec {options.node} -- ip -6 address")
    command = find(options.lab).room(options.node).command(program)
    if not options.json:
        os.execvp(command[0], command)  # noqa: S606  an argument list, no shell
    done = await run_process(command, check=False, deadline=3600, where=options.node)
    console.result({"node": options.node, "program": program, "status": done.status, "output": done.output})
    return done.status
