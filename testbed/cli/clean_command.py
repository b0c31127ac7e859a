"""``testbed clean``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import json_argument
from testbed.lab import down, lab_names, require_root

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    json_argument(parser)


async def run(_options: argparse.Namespace, console: Console) -> int:
    """Remove every lab whose folder or processes there are."""
    require_root()
    names = lab_names()
    for name in names:
        await down(name)
    console.text(f"removed: {', '.join(names)}\n" if names else "there is no lab\n")
    console.result({"removed": names})
    return 0
