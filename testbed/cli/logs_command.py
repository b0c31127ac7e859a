"""``testbed logs``."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.errors import UsageError
from testbed.lab import find

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("node", metavar="NODE", help="a node of the lab")
    parser.add_argument("daemon", nargs="?", metavar="DAEMON", help="one of its daemons; default: all")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come, until interrupted")
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Print a node's logs, each line after the name of its daemon."""
    folder = find(options.lab).room(options.node).lab / "log"
    logs = sorted(folder.glob("*.log"))
    if options.daemon:
        chosen = [log for log in logs if log.stem == options.daemon]
        if not chosen:
            known = ", ".join(log.stem for log in logs) or "none"
            raise UsageError(f"{options.node} has no daemon {options.daemon!r}", hint=f"its daemons: {known}")
        logs = chosen
    if not logs:
        console.text(f"{options.node} has no daemons\n")
    if options.follow and logs:
        command = ["tail", "-n", "+1", "-F", *map(str, logs)]
        os.execvp(command[0], command)  # noqa: S606  an argument list, no shell
    document = {}
    for log in logs:
        lines = await asyncio.to_thread(_lines, log)
        document[log.stem] = lines
        prefix = "" if len(logs) == 1 else f"{log.stem}: "
        console.text("".join(f"{prefix}{line}\n" for line in lines))
    console.result(document)
    return 0


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()
