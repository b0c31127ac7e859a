"""``testbed render``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.cli import json_argument
from testbed.cli.scenarios import find
from testbed.errors import UsageError
from testbed.render.render import render
from testbed.topology.load import load
from testbed.topology.passwords import passwords_of
from testbed.topology.plan import Esp, make_plan

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from testbed.console import Console
    from testbed.render.render import File


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("scenario", help="a scenario's name or the path of a topology file")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="a new folder to write into")
    parser.add_argument(
        "--esp",
        choices=[esp.value for esp in Esp],
        default=Esp.USERLAND.value,
        help="for a machine on which the kernel does ESP, or charon itself",
    )
    json_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Write every node's files, mode 0600: they hold the lab's secrets."""
    path, folder = find(options.scenario), Path(options.to)
    topology = load(path)
    rendered = render(make_plan(topology, passwords_of(topology, path.parent), Esp(options.esp)))
    written = _write(rendered, folder)
    console.text("".join(f"{path}\n" for path in written))
    console.result({"files": written})
    return 0


def _write(rendered: Mapping[str, Sequence[File]], folder: Path) -> list[str]:
    """Write files into a new folder and return their paths."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} exists already", hint="name a folder that does not exist") from error
    written = []
    for node, files in rendered.items():
        for file in files:
            target = folder / node / file.path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(file.content)
            written.append(str(target))
    return written
