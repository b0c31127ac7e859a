"""``testbed schema``."""

from __future__ import annotations

import argparse
import json

from testbed.console import Console
from testbed.topology.schema import schema


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


async def run(_options: argparse.Namespace, console: Console) -> int:
    """Print the JSON Schema."""
    console.text(json.dumps(schema(), indent=2) + "\n")
    return 0
