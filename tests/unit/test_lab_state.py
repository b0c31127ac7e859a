"""What is noted of a lab, who may change it, and which processes are its own."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from samples import THIRD_PARTY, US, noted, third_party, until, wait_for

from testbed import lab as lab_module
from testbed.daemons.start import Running, log_tail, put_files
from testbed.errors import LabError, NotReadyError, TestbedError, UnsupportedError, UsageError
from testbed.lab import Lab, Saved, down, find, lab_names, locked, state_folder
from testbed.render.render import render
from testbed.runtime.base import FABRIC, MARK, Inhabitant, Room, mark, marked
from testbed.runtime.mininet import MininetRuntime
from testbed.topology.model import Timers
from testbed.topology.plan import Esp, Firewall

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder whose path is short: those of sockets are limited."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "state"
        monkeypatch.setenv("TESTBED_STATE", str(folder))
        yield folder


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the mark of a lab at tmp_path/lab."""
    folder = tmp_path / "lab" / "nodes" / "ha1"
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, **mark(folder)})
    yield process
    process.kill()
    process.wait()


def written(name: str, saved: Saved) -> Path:
    folder = state_folder() / name
    folder.mkdir(parents=True)
    saved.write(folder / "lab.json")
    return folder


def sample(**changes: object) -> Saved:
    saved = noted(Running("ha1", "radvd", US), Running("ha1", "home-agent", replace(US, started=0)))
    return replace(saved, **{"passwords": {"mn1": "secret"}, **changes})  # type: ignore[arg-type]


def test_what_is_noted_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    saved = sample()
    saved.write(path)
    assert Saved.read(path) == saved
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["lab.json"]  # in one step
    sample(passwords={}).write(path)
    assert Saved.read(path).passwords == {}


def test_a_lab_that_is_found_has_its_plan_again() -> None:
    written("lab", sample(passwords={}))
    lab = find("lab")
    assert lab.plan == third_party()
    assert lab.room("ha1") == Room("ha1", US, lab.folder / "nodes" / "ha1")
    assert lab.rooms[FABRIC].lab == lab.folder / "nodes" / FABRIC / "lab"


def test_a_node_that_is_not_there() -> None:
    written("lab", sample())
    with pytest.raises(LabError, match="there is no node 'ha9' in lab 'lab'") as caught:
        find("lab").room("ha9")
    assert "ha1" in caught.value.hint


def test_a_node_that_died() -> None:
    written("lab", sample(rooms={"ha1": replace(US, started=1)}))
    with pytest.raises(LabError, match=r"^ha1: the node does not run any more$") as caught:
        find("lab").room("ha1")
    assert caught.value.hint == "testbed down --lab lab"


def test_no_such_lab() -> None:
    with pytest.raises(LabError, match="there is no lab 'lab'") as caught:
        find("lab")
    assert "labs: none" in caught.value.hint
    written("other", sample())
    with pytest.raises(LabError) as caught:
        find("lab")
    assert "labs: other" in caught.value.hint


def test_a_lab_that_is_half_up(state: Path) -> None:
    (state / "lab").mkdir(parents=True)
    with pytest.raises(LabError, match="only half up") as caught:
        find("lab")
    assert caught.value.hint == "testbed down --lab lab"
    assert lab_names() == ["lab"]


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/etc", "Lab", "-x", "a" * 32, "a b", "a\n", "ü"])
def test_what_is_no_name_of_a_lab(name: str, state: Path) -> None:
    for use in (find, lambda name: wait_for(down(name))):
        with pytest.raises(UsageError, match="is no name for a lab"):
            use(name)
    assert not state.exists()


def test_one_command_at_a_time_changes_a_lab(state: Path) -> None:
    with locked("lab"):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        with pytest.raises(LabError, match="another command is changing lab 'lab'"), locked("lab"):
            pytest.fail("two had the lock")
        with locked("other"):
            pass
    with locked("lab"):
        pass
    assert not state.exists()  # nothing is left of an idle testbed


def test_a_lock_is_let_go_of_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), locked("lab"):
        raise ZeroDivisionError
    with locked("lab"):
        pass


def test_a_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal; from testbed.lab import locked\n"
        "with locked('lab'): print('locked', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"locked\n"
    with locked("lab"):
        pass


def test_an_inhabitant_is_known_by_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    ours = Inhabitant.of(sleeper.pid)
    assert ours.alive
    later = replace(ours, started=ours.started + 1)  # the same PID, given to another process
    assert not later.alive
    later.kill()
    assert ours.alive
    ours.kill()
    sleeper.wait()
    assert not ours.alive
    ours.kill()  # a second time does nothing


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    ours = Inhabitant.of(sleeper.pid)
    sleeper.kill()
    wait_for(until(lambda: not ours.alive))  # nobody has waited for it yet
    with pytest.raises(ProcessLookupError):
        Inhabitant.of(sleeper.pid)


def test_the_mark_finds_the_processes_of_one_lab(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    wait_for(until(lambda: marked(tmp_path / "lab")))
    assert marked(tmp_path / "lab") == [Inhabitant.of(sleeper.pid)]
    assert marked(tmp_path / "la") == marked(tmp_path / "lab2") == []
    room = Room("ha1", US, tmp_path / "lab" / "nodes" / "ha1")
    assert room.mark == {MARK: str(tmp_path / "lab")}


def test_children_inherit_the_mark_and_we_are_never_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, str(tmp_path))
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as shell:
        wait_for(until(lambda: len(marked(tmp_path)) == 2))
        found = marked(tmp_path)
        assert os.getpid() not in [process.pid for process in found]
        for process in found:
            process.kill()
        shell.wait()


def test_a_command_in_a_node() -> None:
    room = Room("ha1", Inhabitant(4711, 1), Path("/x/nodes/ha1"))
    assert room.command(["ip", "link"]) == ["nsenter", "-t", "4711", "-n", "-m", "-p", "-u", "--", "ip", "link"]


def test_down_kills_what_has_the_mark_and_removes_the_folder(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    folder = written("lab", sample())
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: str(folder)}) as process:
        wait_for(until(lambda: marked(folder)))
        assert wait_for(down("lab")) is True
        assert process.wait() == -9
    assert not state.exists()
    assert wait_for(down("lab")) is False


def test_down_says_what_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lab_module, "_DOWN_DEADLINE", 0.02)
    monkeypatch.setattr(lab_module, "marked", lambda _folder: [Inhabitant(1, 0)])
    folder = written("lab", sample())
    with pytest.raises(NotReadyError) as caught:
        wait_for(down("lab"))
    assert caught.value.evidence == ("still there: 1",)
    assert folder.exists()


def test_not_root(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for work in (
        down("lab"),
        lab_module.up(THIRD_PARTY, "lab", None, MininetRuntime(), lambda _: None),
    ):
        with pytest.raises(UnsupportedError, match="needs root"):
            wait_for(work)
    assert not state.exists()


class FakeRuntime:
    """Gives rooms without namespaces, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    async def create(self, names: Sequence[str], folder: Path) -> dict[str, Room]:
        if self.error:
            raise self.error
        return {name: Room(name, US, folder / name) for name in names}


@pytest.fixture
def machineless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out of ``up`` all that touches the machine."""

    async def userland() -> Esp:
        return Esp.USERLAND

    async def nftables() -> Firewall:
        return Firewall.NFTABLES

    async def nothing(*_: object) -> list[Running]:
        return []

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("testbed.kernel.esp", userland)
    monkeypatch.setattr("testbed.kernel.firewall", nftables)
    monkeypatch.setattr("testbed.runtime.fabric.wire", lambda *_: None)
    monkeypatch.setattr(lab_module, "check_all", nothing)
    monkeypatch.setattr(lab_module, "start_all", nothing)
    monkeypatch.setattr(lab_module, "put_files", lambda *_: None)


@pytest.mark.usefixtures("machineless")
def test_up_notes_the_lab_and_a_second_up_is_refused() -> None:
    told: list[str] = []
    lab = wait_for(
        lab_module.up(THIRD_PARTY, "lab", Timers.FAST, FakeRuntime(), lambda event: told.append(event.source))
    )
    assert told == ["plan", "nodes", "check", "daemons"]
    assert find("lab").saved == lab.saved
    assert find("lab").plan.topology.timers is Timers.FAST
    assert json.loads((lab.folder / "lab.json").read_text())["esp"] == "userland"
    with pytest.raises(LabError, match="lab 'lab' is up already") as caught:
        wait_for(lab_module.up(THIRD_PARTY, "lab", None, FakeRuntime(), lambda _: None))
    assert caught.value.hint == "testbed down --lab lab"


@pytest.mark.usefixtures("machineless")
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (NotReadyError("its init ended"), NotReadyError),
        (asyncio.CancelledError(), asyncio.CancelledError),
        (ExceptionGroup("several", [OSError("not ours"), NotReadyError("ours")]), NotReadyError),
        (ExceptionGroup("nested", [ExceptionGroup("inner", [OSError("only this")])]), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["error", "cancelled", "group", "nested group", "interrupt"],
)
def test_a_failed_up_leaves_nothing(error: BaseException, raised: type[BaseException], state: Path) -> None:
    with pytest.raises(raised):
        wait_for(lab_module.up(THIRD_PARTY, "lab", None, FakeRuntime(error), lambda _: None))
    assert not (state / "lab").exists()


def test_files_are_put_where_daemons_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "testbed.daemons.start.shutil.chown", lambda path, user, _group: given.append((Path(path).name, user))
    )
    plan = third_party()
    put_files(plan, render(plan), tmp_path)
    for node, files in render(plan).items():
        for file in files:
            path = tmp_path / node / "lab" / "etc" / file.path
            assert path.read_text() == file.content
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ("radiusd.conf", "freerad") in given
    assert ("named.conf", "bind") in given
    hosts = (tmp_path / "cn1" / "lab" / "etc" / "hosts").read_text().splitlines()
    assert f"{plan.hosts['ha1'].address} ha1.carrier.example ha1" in hosts
    assert not [line for line in hosts if "mn1" in line]
    server = plan.hosts["ns1"].address
    assert (tmp_path / "cn1" / "lab" / "etc" / "resolv.conf").read_text() == f"nameserver {server}\n"
    assert (tmp_path / "mn1" / "lab" / "etc" / "resolv.conf").read_text() == ""  # it has to learn them


def test_a_user_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: object) -> None:
        raise LookupError("no such user: 'bind'")

    monkeypatch.setattr("testbed.daemons.start.shutil.chown", chown)
    plan = third_party()
    with pytest.raises(UnsupportedError, match="there is no user"):
        put_files(plan, render(plan), tmp_path)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "none") == ()
    (tmp_path / "log").write_bytes(b"one\ntwo \xff\nthree\n")
    assert log_tail(tmp_path / "log", 2) == ("two \ufffd", "three")


def test_errors_of_labs_are_ours() -> None:
    assert issubclass(LabError, TestbedError)
    assert Lab("lab", Path(), sample()).name == "lab"


def test_a_folder_that_is_no_lab_is_not_deleted(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    precious = state / "precious" / "file"
    precious.parent.mkdir(parents=True)
    precious.touch()
    assert lab_names() == []
    with pytest.raises(LabError, match="is no lab's folder"):
        asyncio.run(down("precious"))
    assert precious.exists()


def test_an_empty_variable_is_no_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_STATE", "")
    assert state_folder() == Path("/run/testbed").resolve()


def test_a_state_folder_is_the_same_from_wherever_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for name in ("real", "link", str(tmp_path / "link")):
        monkeypatch.setenv("TESTBED_STATE", name)
        assert state_folder() == tmp_path / "real"


def test_what_is_noted_of_a_lab_may_be_damaged(state: Path) -> None:
    (state / "lab" / "nodes").mkdir(parents=True)
    (state / "lab" / "lab.json").write_text('{"topology": ')
    with pytest.raises(LabError, match="is damaged"):
        find("lab")
