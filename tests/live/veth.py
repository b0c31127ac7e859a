"""Two network namespaces with a veth pair between them, held by processes that the test starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import select
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

DEADLINE = 20.0
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """One end of the wire: the process that holds the namespace, its interface, the MAC of that."""

    pid: int
    interface: str
    mac: bytes

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace for a while."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as before,
            Path(f"/proc/{self.pid}/ns/net").open("rb") as inside,
        ):
            _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    def run(self, main: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run a coroutine in a thread of its own inside the namespace, up to the deadline."""

        async def bounded() -> T:
            async with asyncio.timeout(DEADLINE):
                return await main()

        def thread() -> T:
            with self.entered():
                return asyncio.run(bounded())

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(thread).result()

    def command(self, *arguments: str) -> str:
        """Run a program inside and give its output."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-n", "--", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def sysctl(self, name: str, value: int) -> None:
        with self.entered():
            Path("/proc/sys/net/ipv6", name).write_text(str(value), "ascii")

    @contextlib.contextmanager
    def daemon(self, *arguments: str, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
        """Run a daemon in the foreground inside; what it wrote is shown when the test fails."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["nsenter", "-t", str(self.pid), "-n", "--", *arguments],
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
            )
        try:
            yield
        finally:
            _end(process)
            print(log.read_text(errors="replace"))  # noqa: T201 - pytest shows it with a failure


@dataclass(frozen=True)
class Link:
    """Two namespaces on one wire."""

    here: Namespace
    there: Namespace


@contextlib.contextmanager
def link() -> Iterator[Link]:
    """Give two namespaces, ``eth0`` in each up with a usable link-local address."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_holder()) for _ in range(2)]
        ends = [Namespace(pid, "eth0", bytes((2, 0, 0, 0, 0, n))) for n, pid in enumerate(holders, 1)]
        here, there = ends
        # Unlike indices, or the kernel's carrier events wait for a limiter of one second.
        here.command(
            *f"ip link add eth0 index 1001 address {here.mac.hex(':')} type veth "
            f"peer name eth0 index 1002 address {there.mac.hex(':')} netns {there.pid}".split()
        )
        for end in ends:
            end.sysctl("conf/eth0/router_solicitations", 0)
            end.sysctl("conf/eth0/accept_dad", 0)
            end.command("ip", "link", "set", "lo", "up")
            end.command("ip", "link", "set", "eth0", "up")
        for end in ends:
            show = ["ip", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative"]
            until(functools.partial(end.command, *show))
        yield Link(here, there)


def until(condition: Callable[[], T]) -> T:
    """Give what the condition gives as soon as that is true, within the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, "condition not met"
        select.select([], [], [], 0.01)
    return found


@contextlib.contextmanager
def _holder() -> Iterator[int]:
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo && exec sleep infinity"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], DEADLINE)
        assert ready, "no namespace"
        assert process.stdout.readline() == b"\n"
        yield process.pid
    finally:
        _end(process)
        process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(DEADLINE)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
