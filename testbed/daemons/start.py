"""Putting files into place, checking all configurations, then starting daemons in the order that they need."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.daemons.catalogue import daemons_of
from testbed.errors import CheckError, NotReadyError, ProcessError, UnsupportedError
from testbed.events import Event, Listener
from testbed.process import run
from testbed.process import start as start_process
from testbed.runtime.base import FABRIC, Inhabitant, Room
from testbed.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv6Address
    from pathlib import Path

    from testbed.daemons.base import Daemon
    from testbed.render.render import File
    from testbed.topology.plan import Host, Plan

_LOG_LINES = 15


@dataclass(frozen=True)
class Running:
    """A daemon that was started: ``process`` is our side's, which lives as long as the daemon."""

    node: str
    daemon: str
    process: Inhabitant


def put_files(plan: Plan, rendered: Mapping[str, tuple[File, ...]], folder: Path) -> None:
    """Write every node's files below ``folder``, mode 0600, each owned by the daemon that reads it.

    Raises:
        UnsupportedError: a daemon's user does not exist, so its package is not installed.
    """
    names = "".join(f"{h.address} {h.fqdn} {h.name}\n" for h in plan.hosts.values() if not h.mobile)
    _put_base(folder / FABRIC / "lab", names, [])
    for host in plan.hosts.values():
        lab = folder / host.name / "lab"
        _put_base(lab, names, [] if host.mobile else plan.name_servers(host.operator))
        users = {daemon.name: daemon.user for daemon in daemons_of(host)}
        for name, user in users.items():
            for part in ("etc", "var"):
                (lab / part / name).mkdir(mode=0o700)
                _give(lab / part / name, user)
        for file in rendered[host.name]:
            _write(lab / file.folder / file.path, file.content, users[file.path.split("/")[0]])


def require_programs(plan: Plan) -> None:
    """See that every daemon of a plan and its checker are installed.

    Raises:
        UnsupportedError: one is not.
    """
    for host in plan.hosts.values():
        for daemon in daemons_of(host):
            for program in (daemon.command[0], *daemon.checker(plan.firewall)[:1]):
                if shutil.which(program) is None:
                    package = f"the package {daemon.package} has it; " if daemon.package else ""
                    hint = f"{package}'testbed doctor' says what else is missing"
                    raise UnsupportedError(
                        f"there is no program {program}", where=f"{host.name}/{daemon.name}", hint=hint
                    )


async def check_all(plan: Plan, rooms: Mapping[str, Room]) -> None:
    """Run every daemon's own checker on its configuration.

    Raises:
        CheckError: one refused; carries what it said.
    """
    async with asyncio.TaskGroup() as group:
        for host in plan.hosts.values():
            for daemon in daemons_of(host):
                if checker := daemon.checker(plan.firewall):
                    group.create_task(_check(daemon, checker, rooms[host.name]))


async def start_all(plan: Plan, rooms: Mapping[str, Room], listener: Listener) -> list[Running]:
    """Start every daemon, of a node that comes after others once theirs are ready; return when all are.

    Raises:
        NotReadyError: one ended or was not ready in time; carries its condition, and the end of its log.
    """
    ready = {(host.name, daemon.name): asyncio.Event() for host in plan.hosts.values() for daemon in daemons_of(host)}
    running: list[Running] = []

    async def bring_up(host: Host, daemon: Daemon) -> None:
        for name in host.after:
            for other in daemons_of(plan.hosts[name]):
                await ready[name, other.name].wait()
        running.append(await _start(daemon, rooms[host.name], listener))
        ready[host.name, daemon.name].set()

    async with asyncio.TaskGroup() as group:
        for host in plan.hosts.values():
            for daemon in daemons_of(host):
                group.create_task(bring_up(host, daemon))
    return running


def log_tail(path: Path, lines: int = _LOG_LINES) -> tuple[str, ...]:
    """Return the last lines of a log, none if there is no log."""
    if not path.exists():
        return ()
    return tuple(path.read_text(errors="replace").splitlines()[-lines:])


async def _check(daemon: Daemon, checker: Sequence[str], room: Room) -> None:
    where = f"{room.name}/{daemon.name}"
    try:
        await run(room.command(checker), environment=dict(daemon.environment), where=where)
    except ProcessError as error:
        raise CheckError(
            f"{checker[0]} refuses the configuration",
            where=where,
            evidence=error.evidence,
            hint="'testbed render' writes the files to look at",
        ) from error


async def _start(daemon: Daemon, room: Room, listener: Listener) -> Running:
    where = f"{room.name}/{daemon.name}"
    began = time.monotonic()
    log = daemon.log(room)
    process = await start_process(
        room.command(daemon.command), log=log, environment={**daemon.environment, **room.mark}
    )

    def condition() -> str:
        if process.returncode is not None:
            raise NotReadyError(f"{daemon.name} ended with status {process.returncode} while starting", where=where)
        return daemon.ready(room)

    try:
        evidence = await wait_until(condition, deadline=daemon.deadline, what=daemon.ready_means, where=where)
        started = Inhabitant.of(process.pid)
    except ProcessLookupError as error:
        raise NotReadyError(f"{daemon.name} ended while starting", where=where, evidence=log_tail(log)) from error
    except NotReadyError as error:
        raise NotReadyError(error.message, where=where, evidence=(*error.evidence, *log_tail(log))) from error
    listener(Event("daemon", where, evidence, seconds=time.monotonic() - began))
    return Running(room.name, daemon.name, started)


def _put_base(lab: Path, names: str, servers: Sequence[IPv6Address]) -> None:
    """Make a node's folders, and the files that replace the machine's own in it."""
    for part in ("etc", "log", "var"):
        (lab / part).mkdir(parents=True)
    (lab / "etc" / "hosts").write_text(f"::1 localhost\n{names}")
    (lab / "etc" / "resolv.conf").write_text("".join(f"nameserver {server}\n" for server in servers))


def _write(path: Path, content: str, user: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(content)
    _give(path, user)


def _give(path: Path, user: str) -> None:
    if user == "root":
        return
    try:
        shutil.chown(path, user, user)
    except LookupError as error:
        raise UnsupportedError(
            f"there is no user {user}", hint="run 'testbed doctor' to see which package makes it"
        ) from error
