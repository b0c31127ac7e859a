"""The way from a topology to a running lab, a step a line, and back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import kernel
from testbed.daemons.start import Running, check_all, put_files, require_programs, start_all
from testbed.errors import LabError, TestbedError, UnsupportedError, UsageError
from testbed.events import Event, Listener
from testbed.render.render import render
from testbed.runtime import fabric
from testbed.runtime.base import FABRIC, Inhabitant, Room, Runtime, marked
from testbed.topology.load import load
from testbed.topology.model import IPSEC, Protection, Timers, Topology
from testbed.topology.passwords import passwords_of
from testbed.topology.plan import Esp, Firewall, Plan, make_plan
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOWN_DEADLINE = 20.0
_LONGEST_PATH = 107  # octets: of a Unix socket, unix(7)
DEFAULT_NAME = "lab"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Saved:
    """What is noted of a lab so that later commands find it."""

    topology: Topology
    passwords: dict[str, str]
    esp: Esp
    rooms: dict[str, Inhabitant]
    running: tuple[Running, ...]
    firewall: Firewall = Firewall.NFTABLES

    def write(self, path: Path) -> None:
        """Write it, mode 0600, in one step."""
        document = {
            "topology": self.topology.model_dump(mode="json"),
            "passwords": self.passwords,
            "esp": self.esp,
            "firewall": self.firewall,
            "rooms": {name: asdict(init) for name, init in self.rooms.items()},
            "running": [asdict(entry) for entry in self.running],
        }
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(document, stream)
        fresh.rename(path)

    @classmethod
    def read(cls, path: Path) -> Saved:
        """Read what ``write`` wrote."""
        document = json.loads(path.read_text())
        return cls(
            topology=Topology.model_validate(document["topology"]),
            passwords=document["passwords"],
            esp=Esp(document["esp"]),
            rooms={name: Inhabitant(**init) for name, init in document["rooms"].items()},
            running=tuple(
                Running(entry["node"], entry["daemon"], Inhabitant(**entry["process"])) for entry in document["running"]
            ),
            firewall=Firewall(document["firewall"]),
        )


@dataclass(frozen=True)
class Lab:
    """A running lab."""

    name: str
    folder: Path
    saved: Saved

    @cached_property
    def plan(self) -> Plan:
        """Its plan, made again from what was saved: a plan is the same each time."""
        return make_plan(self.saved.topology, self.saved.passwords, self.saved.esp, self.saved.firewall)

    @cached_property
    def rooms(self) -> dict[str, Room]:
        """Its nodes, and the fabric."""
        nodes = self.folder / "nodes"
        return {name: Room(name, init, nodes / name) for name, init in self.saved.rooms.items()}

    def room(self, node: str) -> Room:
        """Return a node.

        Raises:
            LabError: there is none of that name; says which there are.
        """
        if node not in self.rooms:
            raise LabError(f"there is no node {node!r} in lab {self.name!r}", hint=f"nodes: {', '.join(self.rooms)}")
        if not self.rooms[node].init.alive:
            raise LabError("the node does not run any more", where=node, hint=f"testbed down --lab {self.name}")
        return self.rooms[node]


def state_folder() -> Path:
    """Return the folder that holds the labs of this machine: ``TESTBED_STATE``, else ``/run/testbed``.

    The path is whole and without links: the nodes carry it in their command lines, by which ``down`` finds them.
    """
    return Path(os.environ.get("TESTBED_STATE") or "/run/testbed").resolve()


def folder_of(name: str) -> Path:
    """Return the folder of a lab, there or not.

    Raises:
        UsageError: it is no name for a lab; a path might lead out of the state folder.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a lab", hint="lower-case letters, digits and hyphens, up to 31")
    return state_folder() / name


def lab_names() -> list[str]:
    """Return the names of the labs that there are, up or half up; of some there is only the lock yet, or still."""
    root = state_folder()
    entries = list(root.iterdir()) if root.is_dir() else []
    locks = {entry.name[1:].removesuffix(".lock") for entry in entries if entry.name.endswith(".lock")}
    return sorted(locks | {entry.name for entry in entries if entry.is_dir() and _is_lab(entry)})


def _is_lab(folder: Path) -> bool:
    """Whether a folder is one that ``up`` made, perhaps only just; nothing else is ever deleted."""
    inside = {entry.name for entry in folder.iterdir()}
    return bool(_NAME.fullmatch(folder.name)) and inside <= {"nodes", "lab.json", "lab.new"}


async def up(path: Path, name: str, timers: Timers | None, runtime: Runtime, listener: Listener) -> Lab:
    """Bring a lab up: everything runs and is ready, no mobile node has bootstrapped.

    Raises:
        TestbedError: something is wrong; nothing is left behind.
    """
    topology = load(path)
    if timers:
        topology = topology.model_copy(update={"timers": timers})
    passwords = passwords_of(topology, path.parent)
    require_root()
    folder = folder_of(name)
    with locked(name):
        if folder.exists():
            raise LabError(f"lab {name!r} is up already", hint=f"testbed down --lab {name}")
        esp = await kernel.esp()
        if topology.protection not in IPSEC:
            await kernel.require_tunnels()
        if esp is Esp.USERLAND and topology.protection is Protection.TUNNEL:
            await kernel.require_tun()
        firewall = await kernel.firewall()
        plan = make_plan(topology, passwords, esp, firewall)
        require_programs(plan)
        _require_short_paths(folder, plan)
        rendered = render(plan)
        way = f"ESP by {esp}" if plan.ipsec else f"protection {topology.protection}"
        listener(Event("phase", "plan", f"{len(plan.hosts)} nodes, {len(plan.wires)} networks, {way}"))
        try:
            nodes = folder / "nodes"
            folder.mkdir(mode=0o700)
            nodes.mkdir(mode=0o700)
            put_files(plan, rendered, nodes)
            with _phase("nodes", "namespaces made and wired", listener):
                rooms = await runtime.create([FABRIC, *plan.hosts], nodes)
                fabric.wire(plan, rooms)
            with _phase("check", "every daemon's own checker accepts its configuration", listener):
                await check_all(plan, rooms)
            with _phase("daemons", "all ready", listener):
                running = await start_all(plan, rooms, listener)
            inits = {n: room.init for n, room in rooms.items()}
            saved = Saved(topology, passwords, esp, inits, tuple(running), firewall)
            saved.write(folder / "lab.json")
        except BaseException as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell; ``down`` removes what is left
                await _remove(folder)
            if isinstance(error, BaseExceptionGroup):
                raise _first(error) from error
            raise
    return Lab(name, folder, saved)


def find(name: str) -> Lab:
    """Return a lab that is up.

    Raises:
        LabError: there is none of that name, or it is not completely up.
        UnsupportedError: we may not look.
    """
    folder = folder_of(name)
    try:
        there = folder.exists()
    except PermissionError as error:
        raise UnsupportedError("labs can be used only by root", hint="sudo testbed ...") from error
    if not there:
        known = ", ".join(lab_names()) or "none"
        raise LabError(f"there is no lab {name!r}", hint=f"labs: {known}; testbed up SCENARIO")
    try:
        return Lab(name, folder, Saved.read(folder / "lab.json"))
    except (ValueError, KeyError, TypeError) as error:
        hint = f"testbed down --lab {name}"
        raise LabError(f"what was noted of lab {name!r} is damaged", hint=hint) from error
    except FileNotFoundError as error:
        raise LabError(
            f"lab {name!r} is only half up: its start is running or was cut off",
            hint=f"testbed down --lab {name}",
        ) from error


async def down(name: str) -> bool:
    """Remove a lab with all its processes, namespaces, links and files; return whether there was anything."""
    folder = folder_of(name)
    require_root()
    if folder.exists() and not _is_lab(folder):
        raise LabError(f"{folder} is no lab's folder", hint="TESTBED_STATE has to be a folder of labs only")
    with locked(name):
        found = folder.exists() or bool(marked(folder))
        await _remove(folder)
    return found


def require_root() -> None:
    """Make sure that we may make namespaces.

    Raises:
        UnsupportedError: we are not root.
    """
    if os.geteuid() != 0:
        raise UnsupportedError("making and removing labs needs root", hint="sudo testbed ...")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep other commands from changing the same lab.

    Raises:
        LabError: another command is at it.
    """
    root = state_folder()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = root / f".{name}.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not lock.exists() or lock.stat().st_ino != os.fstat(descriptor).st_ino:
                raise BlockingIOError  # noqa: TRY301  whoever had it removed the file that we opened
        except BlockingIOError as error:
            raise LabError(
                f"another command is changing lab {name!r}", hint="wait for it or end it, then try again"
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there are other labs
                root.rmdir()
    finally:
        os.close(descriptor)


def _require_short_paths(folder: Path, plan: Plan) -> None:
    longest = max(len(os.fsencode(folder / "nodes" / name / "lab/var/mobile-node/control")) for name in plan.hosts)
    if longest > _LONGEST_PATH:
        hint = f"paths of sockets may have {_LONGEST_PATH} octets, here the longest has {longest}"
        raise UsageError(f"the path {folder} is too long", hint=hint)


async def _remove(folder: Path) -> None:
    """Kill whatever carries the lab's mark until nothing does, then delete its files."""

    def nothing_left() -> None:
        left = marked(folder)
        for process in left:
            process.kill()
        if left:
            raise Unmet(f"still there: {', '.join(str(process.pid) for process in left)}")

    await wait_until(nothing_left, deadline=_DOWN_DEADLINE, what="all of the lab's processes are gone")
    _delete(folder)


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _phase(name: str, text: str, listener: Listener) -> Iterator[None]:
    began = time.monotonic()
    yield
    listener(Event("phase", name, text, seconds=time.monotonic() - began))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Pick what to tell of several failures at once: the first that is ours."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, TestbedError)), leaves[0])
