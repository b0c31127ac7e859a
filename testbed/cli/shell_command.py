"""``testbed shell``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.lab import find

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("node", metavar="NODE", help="a node of the lab")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Become a shell in a node."""
    room = find(options.lab).room(options.node)
    console.text(f"a shell in {room.name}; its files are in /run/lab, exit ends it\n")
    command = room.command(["env", f"PS1={room.name}# ", "bash", "--norc", "-i"])
    os.execvp(command[0], command)  # noqa: S606  an argument list, no shell
