"""``testbed scenarios``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import json_argument
from testbed.cli.scenarios import every
from testbed.errors import TopologyError
from testbed.topology.load import load

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    json_argument(parser)


async def run(_options: argparse.Namespace, console: Console) -> int:
    """List the project's scenarios with the section of RFC 4640 that each shows."""
    rows = []
    for name, path in every().items():
        try:
            topology = load(path)
        except TopologyError as error:
            rows.append({"scenario": name, "section": "?", "title": f"cannot be read: {error.message}"})
        else:
            rows.append({"scenario": name, "section": topology.section, "title": topology.title})
    console.table(("SCENARIO", "RFC 4640", "TITLE"), ((r["scenario"], r["section"], r["title"]) for r in rows))
    console.result(rows)
    return 0
