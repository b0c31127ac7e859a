"""``testbed status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.lab import find
from testbed.status import status

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Show a lab; 1 if something of it does not run or the two ends of a binding disagree."""
    told = await status(find(options.lab))
    console.table(
        ("NODE", "OPERATOR", "ADDRESSES", "DAEMONS"),
        (
            (
                node.name if node.alive else f"{node.name} (dead)",
                node.operator or "-",
                " ".join(node.addresses) or "-",
                " ".join(name if alive else f"{name} (dead)" for name, alive in node.daemons.items()) or "-",
            )
            for node in told.nodes
        ),
    )
    console.text("\n")
    console.table(
        ("MOBILE NODE", "STATE", "HOME ADDRESS", "CARE-OF ADDRESS", "HOME AGENT", "LEFT", "HOME AGENT SAYS"),
        (
            (
                entry.node,
                entry.told,
                entry.home_address or "-",
                entry.care_of_address or "-",
                entry.home_agent or "-",
                "-" if entry.remaining is None else f"{entry.remaining:.0f} s",
                entry.disagreement or "the same",
            )
            for entry in told.bindings
        ),
    )
    console.result(told.document())
    return 0 if told.sound else 1
