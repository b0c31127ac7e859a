"""``testbed down``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.lab import down

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Remove a lab; it is no error if there is none."""
    found = await down(options.lab)
    console.text(f"lab {options.lab!r} is removed\n" if found else f"there was no lab {options.lab!r}\n")
    console.result({"lab": options.lab, "removed": found})
    return 0
