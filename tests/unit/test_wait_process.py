"""Waiting for conditions, running programs, and daemons' conditions of readiness."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
from samples import wait_for

from testbed import process
from testbed.daemons.base import file_exists, listens, log_says, udp_bound
from testbed.errors import NotReadyError, ProcessError, UnsupportedError
from testbed.runtime.base import Inhabitant, Room
from testbed.wait import Unmet, wait_until

QUICK = 0.05  # seconds


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def room(folder: Path) -> Room:
    (folder / "lab" / "var").mkdir(parents=True)
    (folder / "lab" / "log").mkdir()
    return Room("ha1", Inhabitant.of(os.getpid()), folder)


def gone(pid: int) -> bool:
    try:
        Inhabitant.of(pid)
    except ProcessLookupError:
        return True
    return False


def test_a_condition_that_holds_is_asked_once() -> None:
    asked = []

    def condition() -> str:
        asked.append(time.monotonic())
        return "its evidence"

    assert wait_for(wait_until(condition, deadline=QUICK, what="it holds")) == "its evidence"
    assert len(asked) == 1


def test_a_condition_is_asked_until_it_holds() -> None:
    answers = iter([Unmet("first"), Unmet("second"), 7])

    def condition() -> int:
        answer = next(answers)
        if isinstance(answer, Unmet):
            raise answer
        assert isinstance(answer, int)
        return answer

    assert wait_for(wait_until(condition, deadline=5, what="it holds")) == 7


def test_a_deadline_tells_what_was_seen_last() -> None:
    seen = iter(f"attempt {number}" for number in range(10**6))
    last = ""

    def condition() -> NoReturn:
        nonlocal last
        last = next(seen)
        raise Unmet(last)

    with pytest.raises(NotReadyError) as caught:
        wait_for(wait_until(condition, deadline=QUICK, what="named answers", where="ns1/bind"))
    assert str(caught.value) == "ns1/bind: not within 0.05 s: named answers"
    assert caught.value.evidence == (last,)
    assert last != "attempt 0"


def test_a_deadline_without_evidence_has_none() -> None:
    def condition() -> NoReturn:
        raise Unmet

    with pytest.raises(NotReadyError) as caught:
        wait_for(wait_until(condition, deadline=0, what="it holds"))
    assert caught.value.evidence == ()


def test_another_error_of_a_condition_is_not_waited_out() -> None:
    def condition() -> NoReturn:
        raise ProcessError("it died")

    with pytest.raises(ProcessError, match="it died"):
        wait_for(wait_until(condition, deadline=60, what="it holds"))


def test_run_gives_status_and_output_of_both_streams() -> None:
    code = "import os, sys; print('out', flush=True); print('err', file=sys.stderr); print(sys.stdin.read())"
    done = wait_for(process.run(python(code), stdin="in"))
    assert (done.status, done.output) == (0, "out\nerr\nin\n")
    assert done.tail == ("out", "err", "in")
    assert done.arguments[0] == sys.executable
    assert 0 < done.seconds < 20


def test_run_adds_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "ours")
    code = "import os; print(os.environ['INHERITED'], os.environ['ADDED'])"
    assert wait_for(process.run(python(code), environment={"ADDED": "theirs"})).output == "ours theirs\n"


def test_run_carries_the_end_of_a_failures_output() -> None:
    code = "print('\\n'.join(map(str, range(100)))); raise SystemExit(3)"
    with pytest.raises(ProcessError) as caught:
        wait_for(process.run(python(code), where="ar1/kea"))
    assert str(caught.value) == f"ar1/kea: {sys.executable} ended with status 3"
    assert caught.value.evidence == tuple(map(str, range(80, 100)))


def test_run_may_leave_a_failure_to_the_caller() -> None:
    done = wait_for(process.run(python("raise SystemExit(3)"), check=False))
    assert (done.status, done.output, done.tail) == (3, "", ())


def test_output_that_is_no_utf8() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff\n')"
    assert wait_for(process.run(python(code))).output == "\ufffd\n"


def test_no_such_program() -> None:
    with pytest.raises(UnsupportedError, match="there is no program no-such-program") as caught:
        wait_for(process.run(["no-such-program"]))
    assert caught.value.exit_code == 4
    assert "testbed doctor" in caught.value.hint


def test_nothing_is_a_shell_string() -> None:
    assert wait_for(process.run(["echo", "$HOME; $(id) > /dev/null"])).output == "$HOME; $(id) > /dev/null\n"


def test_a_deadline_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = "import os, time; time.sleep(60)"
    code = (
        f"import os, subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{p.pid}}'); time.sleep(60)"
    )

    async def scenario() -> list[int]:
        def written() -> list[int]:
            numbers = pids.read_text().split() if pids.exists() else []
            if len(numbers) != 2:
                raise Unmet
            return [int(number) for number in numbers]

        running = asyncio.create_task(process.run(python(code), deadline=60))
        numbers = await wait_until(written, deadline=10, what="both run")
        running.cancel()  # takes the way of the deadline
        with pytest.raises(asyncio.CancelledError):
            await running

        def both_gone() -> None:
            if not all(map(gone, numbers)):
                raise Unmet

        await wait_until(both_gone, deadline=5, what="both are gone")
        return numbers

    assert len(wait_for(scenario())) == 2


def test_a_deadline_says_so() -> None:
    with pytest.raises(ProcessError, match=r"^kea: sleep did not end within 0.05 s$"):
        wait_for(process.run(["sleep", "60"], deadline=QUICK, where="kea"))


def test_start_appends_to_a_log_that_only_its_owner_reads(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"

    async def scenario() -> None:
        for word in ("first", "second"):
            code = f"import os, sys; print({word!r}, os.getsid(0) == os.getpid(), os.environ['MARK'])"
            started = await process.start(python(code), log=log, environment={"MARK": "m"})
            assert await started.wait() == 0

    wait_for(scenario())
    assert log.read_text() == "first True m\nsecond True m\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_start_without_such_a_program(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        wait_for(process.start(["no-such-daemon"], log=tmp_path / "log"))


def test_kill_of_what_has_ended_already(tmp_path: Path) -> None:
    async def scenario() -> int | None:
        started = await process.start(["true"], log=tmp_path / "log")
        await started.wait()
        await process.kill(started)
        return started.returncode

    assert wait_for(scenario()) == 0


def test_kill_waits_for_the_end(tmp_path: Path) -> None:
    async def scenario() -> int | None:
        started = await process.start(["sleep", "60"], log=tmp_path / "log")
        await process.kill(started)
        return started.returncode

    assert wait_for(scenario()) == -signal.SIGKILL


def test_a_file_that_exists(tmp_path: Path) -> None:
    node, condition = room(tmp_path), file_exists("radvd/radvd.pid")
    with pytest.raises(Unmet, match=r"^there is no /run/lab/var/radvd/radvd\.pid$"):
        condition(node)
    (node.lab / "var" / "radvd").mkdir()
    (node.lab / "var" / "radvd" / "radvd.pid").touch()
    assert condition(node) == "/run/lab/var/radvd/radvd.pid"


def test_a_log_that_says_it(tmp_path: Path) -> None:
    node, condition = room(tmp_path), log_says("bind", " running")
    with pytest.raises(Unmet, match="its log is empty"):
        condition(node)
    (node.lab / "log" / "bind.log").write_bytes(b"loading \xff\nalmost\n")
    with pytest.raises(Unmet, match="almost"):
        condition(node)
    (node.lab / "log" / "bind.log").write_text("loading\nall zones loaded, running\nlater\n")
    assert condition(node) == "all zones loaded, running"


def test_a_socket_that_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a path of a socket has at most 107 octets
    node, condition = room(Path("n")), listens("vici")
    with pytest.raises(Unmet, match="/run/lab/var/vici: No such file or directory"):
        condition(node)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("n/lab/var/vici")
        with pytest.raises(Unmet, match="Connection refused"):
            condition(node)
        server.listen()
        assert condition(node) == "/run/lab/var/vici accepts"


def test_a_udp_port_that_is_bound(tmp_path: Path) -> None:
    node = room(tmp_path)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::1", 0))
        port = server.getsockname()[1]
        assert f":{port:04X}" in udp_bound(port)(node)
    with pytest.raises(Unmet, match=f"no socket on UDP port {port}"):
        udp_bound(port)(node)
