"""Whatever happens to a command, `down` leaves the machine as it was."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from lab import FAST, LIMIT, Cli, Host, command_line, namespaces_that_exist, needs_root
from veth import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, needs_root]

# for a soak: LIVE_INSTANTS=200 LIVE_SEED=7
INSTANTS = int(os.environ.get("LIVE_INSTANTS", "6"))
SEED = int(os.environ.get("LIVE_SEED", "4640"))
INTERRUPTED = 130


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    with command_line() as cli:
        yield cli


@pytest.fixture(scope="module")
def length(cli: Cli) -> float:
    """How long `up` takes here and now, in seconds."""
    began = time.monotonic()
    cli("up", "third-party", *FAST)
    took = time.monotonic() - began
    cli("down")
    return took


@pytest.fixture(autouse=True)
def machine(cli: Cli) -> Iterator[Host]:
    """See after each test that nothing is left."""
    host = Host.now()
    yield host
    try:
        cli.assert_nothing_left()
    finally:
        cli("clean")  # so that one failure does not make more
    host.assert_unchanged()


def test_down_leaves_nothing(cli: Cli, machine: Host) -> None:
    cli("up", "third-party", *FAST)
    program = cli.start("exec", "mn1", "--", "sleep", "infinity")
    until(lambda: "sleep infinity " in cli.processes().values())
    inside = cli.namespaces()
    machine.assert_unchanged()  # not even while it is up
    assert len(inside) >= 4 * 10
    assert inside <= namespaces_that_exist()
    cli("down")
    assert cli.wait(program, status=None).status != 0
    until(lambda: not inside & namespaces_that_exist())


def test_down_and_clean_of_nothing_are_no_error(cli: Cli) -> None:
    assert cli("down").out == "there was no lab 'lab'\n"
    assert cli("down", "--json").document == {"lab": "lab", "removed": False}
    assert cli("clean").out == "there is no lab\n"


@pytest.mark.parametrize("number", range(INSTANTS))
def test_up_that_is_interrupted_removes_what_it_made(cli: Cli, length: float, number: int) -> None:
    process = cli.start("up", "third-party", *FAST)
    _wait(process, length * _share(number))
    how = signal.SIGTERM if number % 2 else signal.SIGINT
    process.send_signal(how)
    done = cli.wait(process, status=None)
    if done.status == 0:  # it was faster than ever
        cli("down")
    else:
        assert done.status in {INTERRUPTED, -how}, done.text  # the latter if Python itself was not up yet
    cli.assert_nothing_left()


@pytest.mark.parametrize("number", range(INSTANTS))
def test_up_that_is_killed_leaves_nothing_that_down_does_not_remove(cli: Cli, length: float, number: int) -> None:
    process = cli.start("up", "third-party", *FAST)
    _wait(process, length * _share(-1 - number))
    process.kill()
    process.communicate()
    cli("down")


def test_up_can_follow_on_one_that_was_killed(cli: Cli, length: float) -> None:
    process = cli.start("up", "third-party", *FAST)
    _wait(process, length / 2)
    process.kill()
    process.communicate()
    again = cli("up", "third-party", *FAST, status=None)
    assert again.status == 0 or "testbed down --lab lab" in again.err
    assert "half up" in cli("status", status=None).err or again.status == 0
    cli("down")
    cli("up", "third-party", *FAST)
    cli("down")


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_down_that_is_killed_can_be_repeated(cli: Cli, share: float) -> None:
    cli("up", "third-party", *FAST, "--no-bootstrap")
    process = cli.start("down")
    _wait(process, share * 0.5)
    process.kill()
    process.communicate()
    cli("down")


def test_clean_removes_every_lab_whatever_its_state(cli: Cli, length: float) -> None:
    cli("up", "third-party", "--lab", "whole", *FAST, "--no-bootstrap")
    for name, share in (("early", 0.3), ("late", 0.6)):
        process = cli.start("up", "third-party", "--lab", name, *FAST)
        until(lambda name=name: (cli.state / name).exists())  # type: ignore[misc]
        _wait(process, share * length / 2)
        process.kill()
        process.communicate()
    done = cli("clean", "--json")
    assert done.document == {"removed": ["early", "late", "whole"]}


def test_clean_removes_the_lock_of_a_command_that_was_killed(cli: Cli) -> None:
    cli.state.mkdir(mode=0o700)
    (cli.state / ".gone.lock").touch(0o600)
    cli("clean")


def test_a_lab_that_is_removed_while_it_bootstraps_ends_the_bootstrap(cli: Cli) -> None:
    cli("up", "third-party", "--no-bootstrap", "--timers", "standard")
    process = cli.start("bootstrap", "--json")
    assert process.stderr is not None
    ready, _, _ = select.select([process.stderr], [], [], LIMIT)  # its first step
    assert ready
    cli("down")
    done = cli.wait(process, status=None)
    assert done.status == 1
    assert "went away" in done.error["message"] or "does not answer" in done.error["message"]


def test_a_bootstrap_that_is_killed_can_be_repeated(cli: Cli) -> None:
    cli("up", "third-party", "--no-bootstrap", *FAST)
    process = cli.start("bootstrap", "--json")
    assert process.stderr is not None
    assert json.loads(process.stderr.readline())["kind"] == "step"
    process.kill()
    process.communicate()
    cli("bootstrap")
    assert cli("status", "--json").document["sound"] is True
    cli("down")


def test_a_node_that_was_killed_is_told_and_removed(cli: Cli) -> None:
    cli("up", "third-party", *FAST)
    os.kill(cli.room("lab", "ns1").init.pid, signal.SIGKILL)
    until(lambda: not cli.room("lab", "ns1").init.alive)
    told = cli("status", "--json", status=1).document
    assert told["sound"] is False
    assert [node["name"] for node in told["nodes"] if not node["alive"]] == ["ns1"]
    assert "does not run any more" in cli("exec", "ns1", "--", "true", status=1).err
    cli("down")


def test_a_second_command_does_not_touch_a_lab_that_is_being_changed(cli: Cli) -> None:
    process = cli.start("up", "third-party", *FAST)
    until((cli.state / "lab").exists)
    refused = cli("down", status=None)
    up = cli.wait(process, status=None)
    if refused.status:  # else it came too late to be in the way
        assert "another command is changing lab 'lab'" in refused.err
        assert up.status == 0
        assert cli("status", "--json").document["sound"] is True
    cli("down")


def _share(number: int) -> float:
    return random.Random(SEED + number).random()  # noqa: S311 - an instant, no secret


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    """Let it run so long; the instant is what is tested, nothing is waited for."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
