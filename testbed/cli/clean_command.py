"""``testbed clean``."""

from __future__ import annotations

import argparse

from testbed.cli import json_argument
from testbed.console import Console
from testbed.lab import down, lab_names


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    json_argument(parser)


async def run(_options: argparse.Namespace, console: Console) -> int:
    """Remove every lab whose folder or processes there are."""
    names = lab_names()
    for name in names:
        await down(name)
    console.text(f"removed: {', '.join(names)}\n" if names else "there is no lab\n")
    console.result({"removed": names})
    return 0
