"""``testbed schema``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from testbed.topology.schema import schema

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


async def run(_options: argparse.Namespace, console: Console) -> int:
    """Print the JSON Schema."""
    console.text(json.dumps(schema(), indent=2) + "\n")
    return 0
