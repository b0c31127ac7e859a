"""``testbed validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import json_argument
from testbed.cli.scenarios import find
from testbed.topology.load import load

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenario", help="a scenario's name or the path of a topology file")
    json_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Load a topology with all checks."""
    path = find(options.scenario)
    topology = load(path)
    counts = {
        "operators": len(topology.operators),
        "networks": len(topology.networks),
        "nodes": len(topology.nodes),
        "mobile_nodes": len(topology.mobile_nodes),
    }
    told = ", ".join(f"{number} {_noun(name, number)}" for name, number in counts.items())
    console.text(f"{path}: valid: {told}\n")
    console.result({"path": str(path), "valid": True, **counts})
    return 0


def _noun(plural: str, number: int) -> str:
    noun = plural.replace("_", " ")
    return noun.removesuffix("s") if number == 1 else noun
