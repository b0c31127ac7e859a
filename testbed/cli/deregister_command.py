"""``testbed deregister``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.lab import find
from testbed.moving import deregister

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("node", metavar="NODE", help="a mobile node")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Have a mobile node delete its binding."""
    home_address = await deregister(find(options.lab), options.node)
    console.text(f"{options.node} gave up {home_address}\n")
    console.result({"node": options.node, "home_address": home_address})
    return 0
