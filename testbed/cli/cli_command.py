"""``testbed cli``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mininet.cli import CLI
from mininet.log import setLogLevel

from testbed.cli import lab_argument
from testbed.lab import find, require_root
from testbed.runtime.mininet import attach, detach

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--script", metavar="FILE", default=None, help="run the commands of a file, then end")
    lab_argument(parser)


async def run(options: argparse.Namespace, _console: Console) -> int:
    """Open Mininet's prompt; leaving it leaves the lab as it is."""
    require_root()
    lab = find(options.lab)
    setLogLevel("info")
    net = attach(lab.plan, lab.rooms)
    try:
        CLI(net, script=options.script)
    finally:
        detach(net)
    return 0
