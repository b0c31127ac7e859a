"""The agents' control sockets, both ends over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import until, wait_for

from testbed.errors import BootstrapError, LabError, TestbedError, WireError
from testbed.mip6 import control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

PATH = Path("control")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets are named from here: a path of a socket has at most 107 octets."""
    monkeypatch.chdir(tmp_path)
    yield
    PATH.unlink(missing_ok=True)


class Agent:
    """Operations that tell what they did, or fail as agents do."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.go_on = asyncio.Event()

    async def count(self, request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        self.done.append(request)
        for number in range(request.get("events", 0)):
            send({"number": number})
        return {"counted": request.get("events", 0)}

    async def refuse(self, _request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        send({"step": "ike"})
        raise BootstrapError("nobody answered", step="ike", hint="look at its log", evidence=("one", "two"))

    async def fail(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        raise LabError("it is not registered", hint="bootstrap it")

    async def wait(self, _request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        send({"waiting": True})
        await self.go_on.wait()
        self.done.append({"op": "wait"})
        return {}

    def operations(self) -> dict[str, control.Operation]:
        return {"count": self.count, "refuse": self.refuse, "fail": self.fail, "wait": self.wait}


def served(test: Callable[[Agent], Awaitable[None]]) -> None:
    """Run a test while an agent serves; afterwards it has to answer still, and nothing may have failed unseen."""
    unseen: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))
        agent = Agent()
        async with await control.serve(PATH, agent.operations()):
            await test(agent)
            agent.go_on.set()
            assert await control.result_of(PATH, {"op": "count"}, where="ha1") == {"counted": 0}

    wait_for(scenario())
    assert not unseen


def reset_or_not() -> contextlib.suppress:
    """A connection may be reset while we write: that is an end as well."""
    return contextlib.suppress(ConnectionError)


async def exchange(*lines: bytes) -> list[dict[str, Any]]:
    """Send octets, close our half, and return every answer."""
    reader, writer = await asyncio.open_unix_connection(PATH)
    try:
        for line in lines:
            writer.write(line)
        writer.write_eof()
        return [json.loads(line) for line in (await reader.read()).splitlines()]
    finally:
        writer.close()
        await writer.wait_closed()


async def gather(answers: AsyncIterator[dict[str, Any]], told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    async for answer in answers:
        told.append(answer)  # noqa: PERF401  a comprehension would lose what came before an error
    return told


def test_events_then_the_result() -> None:
    async def test(agent: Agent) -> None:
        request = {"op": "count", "events": 3, "text": "ü\n\0"}
        answers = await gather(control.ask(PATH, request, where="mn1"), [])
        assert answers == [{"event": {"number": number}} for number in range(3)] + [{"result": {"counted": 3}}]
        assert agent.done == [request]

    served(test)


def test_only_its_owner_can_open_it() -> None:
    before = os.umask(0)
    os.umask(before)

    async def test(_: Agent) -> None:
        mode = os.stat(PATH).st_mode  # noqa: PTH116  Path.stat is as little asynchronous
        assert (stat.S_IMODE(mode), stat.S_ISSOCK(mode)) == (0o600, True)
        now = os.umask(before)
        assert now == before  # what others make meanwhile is as always

    served(test)


def test_a_failed_bootstrap_is_one_at_the_other_end() -> None:
    async def test(_: Agent) -> None:
        told: list[dict[str, Any]] = []
        with pytest.raises(BootstrapError) as caught:
            await gather(control.ask(PATH, {"op": "refuse"}, where="mn1"), told)
        assert told == [{"event": {"step": "ike"}}]
        error = caught.value
        assert (error.message, error.step, error.where) == ("nobody answered", "ike", "mn1")
        assert (error.hint, error.evidence) == ("look at its log", ("one", "two"))

    served(test)


def test_another_failure_is_a_testbed_error() -> None:
    async def test(_: Agent) -> None:
        with pytest.raises(TestbedError) as caught:
            await control.result_of(PATH, {"op": "fail"}, where="mn1")
        assert not isinstance(caught.value, BootstrapError)
        assert str(caught.value) == "mn1: it is not registered"
        assert caught.value.hint == "bootstrap it"

    served(test)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"null\n",
        b"7\n",
        b"[]\n",
        b"[1, 2]\n",
        b'"count"\n',
        b"{}\n",
        b'{"op": null}\n',
        b'{"op": 7}\n',
        b'{"op": ["count"]}\n',
        b'{"op": {"op": "count"}}\n',
        b'{"op": "no-such-operation"}\n',
        b'{"op": "count"\n',
        b'{"op": "count"} trailing\n',
        b"\xff\xfe\x00\n",
        b"\x00\x01\x02\n",
        b"[" * 60000 + b"\n",
        b'{"op":' * 10000 + b"\n",
        b"1" * 60000 + b"\n",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_what_is_no_request(line: bytes) -> None:
    async def test(agent: Agent) -> None:
        answers = await exchange(line, b'{"op": "count", "events": 1}\n')
        message = 'not a request: expected one line {"op": one of count, fail, refuse, wait, ...}'
        assert answers[0] == {"error": {"message": message}}
        assert answers[1:] == [{"event": {"number": 0}}, {"result": {"counted": 1}}]  # the connection goes on
        assert agent.done == [{"op": "count", "events": 1}]

    served(test)


def test_the_client_makes_an_error_of_a_refused_request() -> None:
    async def test(_: Agent) -> None:
        with pytest.raises(TestbedError, match=r"^mn1: not a request"):
            await control.result_of(PATH, {"op": "no-such-operation"}, where="mn1")

    served(test)


@pytest.mark.parametrize("octets", [1 << 17, 1 << 21])
def test_a_line_beyond_the_limit_ends_the_connection_and_nothing_else(octets: int) -> None:
    async def test(agent: Agent) -> None:
        with reset_or_not():
            assert await exchange(b'{"op": "count", "text": "' + b"x" * octets + b'"}\n') == []
        assert agent.done == []

    served(test)


def test_a_request_that_is_cut_off() -> None:
    async def test(agent: Agent) -> None:
        answers = await exchange(b'{"op": "cou')
        assert [list(answer) for answer in answers] == [["error"]]
        assert agent.done == []

    served(test)


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_changes_nothing_and_kills_nobody(lines: list[bytes]) -> None:
    async def test(agent: Agent) -> None:
        with reset_or_not():
            for answer in await exchange(*(line + b"\n" for line in lines)):
                assert list(answer) == ["error"]
        assert agent.done == []

    served(test)
    PATH.unlink(missing_ok=True)


def test_a_client_that_leaves_midway() -> None:
    async def test(agent: Agent) -> None:
        reader, writer = await asyncio.open_unix_connection(PATH)
        writer.write(b'{"op": "wait"}\n')
        assert json.loads(await reader.readline()) == {"event": {"waiting": True}}
        writer.transport.abort()
        agent.go_on.set()
        await until(lambda: agent.done)
        assert agent.done == [{"op": "wait"}]  # what was asked for is done

    served(test)


def test_a_client_that_never_reads() -> None:
    async def test(agent: Agent) -> None:
        _, writer = await asyncio.open_unix_connection(PATH)
        writer.write(b'{"op": "count", "events": 50000}\n' * 2)
        await until(lambda: agent.done)
        assert await control.result_of(PATH, {"op": "count"}, where="ha1") == {"counted": 0}  # others are served
        writer.transport.abort()

    served(test)


def test_two_clients_at_once() -> None:
    async def test(agent: Agent) -> None:
        first = asyncio.create_task(control.result_of(PATH, {"op": "wait"}, where="mn1"))
        assert await control.result_of(PATH, {"op": "count", "events": 2}, where="mn1") == {"counted": 2}
        agent.go_on.set()
        assert await first == {}

    served(test)


def test_nobody_listens() -> None:
    with pytest.raises(LabError) as caught:
        wait_for(control.result_of(PATH, {"op": "status"}, where="mn1"))
    assert str(caught.value) == "mn1: its control socket does not answer: No such file or directory"
    assert caught.value.hint == "see 'testbed status'"


@pytest.mark.parametrize("answer", [b"", b'{"event": {}}\n'], ids=["at once", "after an event"])
def test_a_server_that_goes_away(answer: bytes) -> None:
    async def scenario() -> None:
        async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(vanish, PATH):
            await control.result_of(PATH, {"op": "status"}, where="mn1")

    with pytest.raises(LabError, match=r"^mn1: it went away before it answered$"):
        wait_for(scenario())


def test_a_server_that_resets_the_connection() -> None:
    async def scenario() -> None:
        async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()  # with our request unread: ECONNRESET

        async with await asyncio.start_unix_server(reset, PATH):
            await control.result_of(PATH, {"op": "status"}, where="mn1")

    with pytest.raises(LabError, match=r"^mn1: it went away before it answered$"):
        wait_for(scenario())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"result": {}', "it went away before it answered"),
        (b"nonsense\n", "its answer makes no sense"),
        (b"7\n", "its answer makes no sense"),
        (b'{"result": 7}\n', "its answer makes no sense"),
        (b'{"error": {}}\n', "its answer makes no sense"),
        (b"[" * 60000 + b"\n", "its answer makes no sense"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_server_that_answers_nonsense(answer: bytes, words: str) -> None:
    async def scenario() -> None:
        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(nonsense, PATH):
            await control.result_of(PATH, {"op": "status"}, where="mn1")

    with pytest.raises(LabError, match=f"^mn1: {words}$"):
        wait_for(scenario())


def test_an_operation_that_fails_unforeseen_is_told_and_others_go_on() -> None:
    async def crash(_request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        raise ZeroDivisionError("division by zero")

    async def wire(_request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        raise WireError("too short")

    async def scenario() -> None:
        async with await control.serve(PATH, {"crash": crash, "wire": wire}):
            with pytest.raises(TestbedError, match=r"^mn1: "):
                await control.result_of(PATH, {"op": "crash"}, where="mn1")
            with pytest.raises(TestbedError, match=r"^mn1: too short$"):
                await control.result_of(PATH, {"op": "wire"}, where="mn1")

    wait_for(scenario())
