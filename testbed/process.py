"""Running programs: from argument lists, with deadlines, their output kept as evidence.

Only what becomes the program itself (``exec``, ``shell``, ``logs -f``) or has to be a Mininet node's own child does
not go through here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.errors import ProcessError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_EVIDENCE_LINES = 20


@dataclass(frozen=True)
class Completed:
    """A program that ended; ``seconds`` it took, ``output`` is both of its streams in the order written."""

    arguments: tuple[str, ...]
    status: int
    output: str
    seconds: float

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of its output."""
        return tuple(self.output.splitlines()[-_EVIDENCE_LINES:])


async def run(
    arguments: Sequence[str],
    *,
    deadline: float = 20.0,
    stdin: str = "",
    environment: dict[str, str] | None = None,
    check: bool = True,
    where: str = "",
) -> Completed:
    """Run a program to its end.

    Args:
        arguments: the program and its arguments; never a shell string.
        deadline: seconds until it is killed, with its group.
        stdin: what it reads.
        environment: added to ours.
        check: raise if its status is not 0.
        where: the node or daemon, for messages.

    Raises:
        ProcessError: its status is not 0, or it took too long; carries the end of its output.
        UnsupportedError: there is no such program.
    """
    started = time.monotonic()
    process = await _start(
        arguments, stdin=asyncio.subprocess.PIPE, output=asyncio.subprocess.PIPE, environment=environment
    )
    try:
        async with asyncio.timeout(deadline):
            output, _ = await process.communicate(stdin.encode())
    except TimeoutError as error:
        await kill(process)
        raise ProcessError(f"{arguments[0]} did not end within {deadline:g} s", where=where) from error
    except asyncio.CancelledError:
        await kill(process)
        raise
    done = Completed(
        tuple(arguments),
        process.returncode or 0,
        output.decode(errors="replace"),
        time.monotonic() - started,
    )
    if check and done.status:
        raise ProcessError(f"{arguments[0]} ended with status {done.status}", where=where, evidence=done.tail)
    return done


async def start(
    arguments: Sequence[str], *, log: Path, environment: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a program that stays, in a session of its own, its output appended to a log of mode 0600.

    Raises:
        UnsupportedError: there is no such program.
    """
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)) as stream:
        return await _start(
            arguments, stdin=asyncio.subprocess.DEVNULL, output=stream.fileno(), environment=environment
        )


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a program with its group, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _start(
    arguments: Sequence[str], *, stdin: int, output: int, environment: dict[str, str] | None
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=stdin,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise UnsupportedError(
            f"there is no program {arguments[0]}", hint="run 'testbed doctor' to see which package has it"
        ) from error
