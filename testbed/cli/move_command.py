"""``testbed move``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.lab import find
from testbed.moving import move

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("node", metavar="NODE", help="a mobile node")
    parser.add_argument("network", metavar="NETWORK", help="an access network, or a home link")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Plug a mobile node into another network and show its handover."""
    moved = await move(find(options.lab), options.node, options.network, console.event)
    where = "at home" if moved.at_home else moved.care_of_address
    console.text(f"{moved.node} is on {moved.network}: {moved.home_address} {where}, {moved.seconds:.3f} s\n")
    console.result(moved.__dict__)
    return 0
