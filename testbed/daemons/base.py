"""A daemon as a data sheet, and the conditions by which one is ready.

To add a daemon: a module with one ``Daemon`` beside this one, its templates in ``render/templates/<name>/``, a line in
``catalogue``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.render.render import ETC
from testbed.runtime.base import Room
from testbed.topology.plan import Firewall
from testbed.wait import Unmet

#: where a node keeps its daemons' state, as the node sees it
VAR = "/run/lab/var"

Condition = Callable[[Room], str]
"""Returns its evidence, or raises ``Unmet``."""


@dataclass(frozen=True)
class Daemon:
    """What there is to know of a daemon.

    ``command`` and ``check`` are argument lists as the node sees the paths; ``user`` owns its files; ``environment`` is
    added to ours. ``check_ip6tables`` takes the place of ``check`` where that filters packets.
    """

    name: str
    package: str
    command: tuple[str, ...]
    ready: Condition
    ready_means: str
    check: tuple[str, ...] = ()
    check_ip6tables: tuple[str, ...] = ()
    user: str = "root"
    deadline: float = 10.0  #: seconds until it must be ready
    environment: Mapping[str, str] = field(default_factory=dict)

    def checker(self, firewall: Firewall) -> tuple[str, ...]:
        """Return what checks its configuration on a machine, the empty tuple if nothing does."""
        return self.check_ip6tables if self.check_ip6tables and firewall is Firewall.IP6TABLES else self.check

    def log(self, room: Room) -> Path:
        """Return the file with its output."""
        return room.lab / "log" / f"{self.name}.log"


def etc(daemon: str, name: str) -> str:
    """Return the path of a rendered file as the node sees it."""
    return f"{ETC}/{daemon}/{name}"


def file_exists(path: str) -> Condition:
    """Hold once a file below ``VAR`` exists."""

    def condition(room: Room) -> str:
        if not (room.lab / "var" / path).exists():
            raise Unmet(f"there is no {VAR}/{path}")
        return f"{VAR}/{path}"

    return condition


def log_says(daemon: str, words: str) -> Condition:
    """Hold once the daemon's output has a line with certain words."""

    def condition(room: Room) -> str:
        log = room.lab / "log" / f"{daemon}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        for line in lines:
            if words in line:
                return line
        raise Unmet(lines[-1] if lines else "its log is empty")

    return condition


def listens(path: str) -> Condition:
    """Hold once a Unix stream socket below ``VAR`` accepts connections."""

    def condition(room: Room) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(str(room.lab / "var" / path))
            except OSError as error:
                raise Unmet(f"{VAR}/{path}: {error.strerror}") from error
        return f"{VAR}/{path} accepts"

    return condition


def udp_bound(port: int) -> Condition:
    """Hold once a UDP socket of the node is bound to a port."""
    wanted = f":{port:04X}"

    def condition(room: Room) -> str:
        table = Path(f"/proc/{room.init.pid}/net/udp6").read_text().splitlines()[1:]
        for line in table:
            if line.split()[1].endswith(wanted):
                return line.strip()
        raise Unmet(f"no socket on UDP port {port}")

    return condition
