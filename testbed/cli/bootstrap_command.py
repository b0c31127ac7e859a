"""``testbed bootstrap``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.bootstrap import Bootstrapped, bootstrap
from testbed.cli import lab_argument
from testbed.lab import find

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="mobile nodes; default: all")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Bootstrap mobile nodes from nothing; a binding that there is, is deleted first."""
    done = await bootstrap(find(options.lab), options.nodes, console.event)
    show(done, console)
    console.result([entry.__dict__ for entry in done])
    return 0


def show(done: Sequence[Bootstrapped], console: Console) -> None:
    """Print what each mobile node has now."""
    console.text("\n")
    console.table(
        ("MOBILE NODE", "HOME ADDRESS", "CARE-OF ADDRESS", "HOME AGENT", "BOOTSTRAP", "OF IT IMPOSED"),
        (
            (
                entry.node,
                entry.home_address,
                entry.care_of_address,
                entry.home_agent,
                f"{entry.seconds:.3f} s",
                f"{entry.waiting:.3f} s",
            )
            for entry in done
        ),
    )
