"""What a runtime gives: for each node the PID of its init. All else is done through the namespaces of that PID."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

#: environment variable that marks all processes of a lab with the lab's folder, so that ``down`` finds them all
MARK = "TESTBED_LAB_FOLDER"
#: the namespace that holds the bridges
FABRIC = "fabric"


@dataclass(frozen=True)
class Inhabitant:
    """A process that must not be confused with a later one of the same PID: ``started`` is in clock ticks (proc(5))."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Inhabitant:
        """Note a running process.

        Raises:
            ProcessLookupError: there is none.
        """
        started = _start_time(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        """Whether it is still this process, and no zombie."""
        return _start_time(self.pid) == self.started

    def kill(self) -> None:
        """Kill it if it is still this process."""
        if self.alive:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(") ")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Room:
    """A running node: its init and its folder, which the node sees as /run."""

    name: str
    init: Inhabitant
    folder: Path

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs a program in the node."""
        return ["nsenter", "-t", str(self.init.pid), "-n", "-m", "-p", "-u", "--", *arguments]

    @property
    def mark(self) -> dict[str, str]:
        """What marks a process as one of the lab's, for its environment."""
        return mark(self.folder)

    @property
    def lab(self) -> Path:
        """The node's part of the lab: etc, log and var; the node sees it as /run/lab."""
        return self.folder / "lab"


class Runtime(Protocol):
    """Makes nodes."""

    async def create(self, names: Sequence[str], folder: Path) -> dict[str, Room]:
        """Make a node for each name, its folder below ``folder``, and return them when they are ready."""


def mark(node_folder: Path) -> dict[str, str]:
    """Return what marks a process as one of the lab that has a node in this folder."""
    return {MARK: str(node_folder.parent.parent)}


def marked(folder: Path) -> list[Inhabitant]:
    """Find every process of a lab by the mark in its environment, whoever started it."""
    wanted = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(Inhabitant.of(int(entry.name)))
        except (OSError, ProcessLookupError):
            continue
    return found
