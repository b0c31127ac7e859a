"""The agents' control sockets: one JSON object a line, over a Unix stream socket that only its owner can open.

A request is ``{"op": NAME, ...}``. The answer is any number of ``{"event": {...}}``, then one ``{"result": {...}}`` or
``{"error": {"message": ..., ...}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from testbed.errors import BootstrapError, LabError, TestbedError

if TYPE_CHECKING:
    from pathlib import Path

_LINE_OCTETS = 1 << 16
_PATIENCE = 120.0  # seconds between two answers: longer than any step of a bootstrap may take
Send = Callable[[dict[str, Any]], None]
Operation = Callable[[dict[str, Any], Send], Awaitable[dict[str, Any]]]


async def serve(path: Path, operations: Mapping[str, Operation]) -> asyncio.Server:
    """Answer requests on a Unix socket of mode 0600; an operation gets the request and a way to send events."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _converse(reader, writer, operations)
        except (ConnectionError, ValueError):
            return  # the other side left, or sent a line beyond the limit
        finally:
            writer.close()

    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(connected, path, limit=_LINE_OCTETS)
    finally:
        os.umask(before)


async def ask(
    path: Path, request: dict[str, Any], *, where: str, patience: float = _PATIENCE
) -> AsyncGenerator[dict[str, Any], None]:
    """Send a request and give each event, then the result as ``{"result": ...}``.

    Raises:
        BootstrapError: the agent says that a bootstrap failed.
        TestbedError: it says that something else failed.
        LabError: nobody listens there, it went away, or it said nothing for ``patience`` seconds.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    except OSError as error:
        raise LabError(
            f"its control socket does not answer: {error.strerror}", where=where, hint="see 'testbed status'"
        ) from error
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        while (line := await asyncio.wait_for(reader.readline(), patience)).endswith(b"\n"):
            answer = _answer(line, where)
            if "error" in answer:
                raise _error(answer["error"], where)
            yield answer
            if "result" in answer:
                return
        raise LabError("it went away before it answered", where=where)
    except TimeoutError as error:
        raise LabError(f"it has said nothing for {patience:g} s", where=where, hint="see 'testbed logs'") from error
    except ConnectionError as error:
        raise LabError("it went away before it answered", where=where) from error
    finally:
        writer.close()


async def result_of(path: Path, request: dict[str, Any], *, where: str, patience: float = _PATIENCE) -> dict[str, Any]:
    """Send a request and return its result; raises as ``ask`` does."""
    result: dict[str, Any] = {}
    async with contextlib.aclosing(ask(path, request, where=where, patience=patience)) as answers:
        async for answer in answers:
            result = answer.get("result", result)
    return result


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, operations: Mapping[str, Operation]
) -> None:
    def send(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    while line := await reader.readline():
        try:
            request = json.loads(line)
            operation = operations[request["op"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            known = ", ".join(sorted(operations))
            send({"error": {"message": f'not a request: expected one line {{"op": one of {known}, ...}}'}})
            continue
        try:
            send({"result": await operation(request, lambda event: send({"event": event}))})
        except TestbedError as error:
            send({"error": _described(error)})
        await writer.drain()


def _described(error: TestbedError) -> dict[str, Any]:
    described: dict[str, Any] = {
        "message": error.message,
        "hint": error.hint,
        "evidence": list(error.evidence),
    }
    if isinstance(error, BootstrapError):
        described["step"] = error.step
    return described


def _answer(line: bytes, where: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        answer: dict[str, Any] = json.loads(line)
        match answer:
            case {"event": dict()} | {"result": dict()} | {"error": {"message": str()}}:
                return answer
    raise LabError("its answer makes no sense", where=where, evidence=(line[:200].decode(errors="replace").strip(),))


def _error(described: dict[str, Any], where: str) -> TestbedError:
    message, hint = described["message"], described.get("hint", "")
    evidence = tuple(described.get("evidence", ()))
    if "step" in described:
        return BootstrapError(message, step=described["step"], where=where, hint=hint, evidence=evidence)
    return TestbedError(message, where=where, hint=hint, evidence=evidence)
