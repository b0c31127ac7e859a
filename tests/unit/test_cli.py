"""The command line: what it accepts, prints and exits with."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samples import ROOT, THIRD_PARTY, US, third_party
from samples import noted as saved

from testbed import __version__, cli, doctor, lab
from testbed.bootstrap import Bootstrapped
from testbed.cli import COMMANDS, Parser, lab_argument
from testbed.daemons.start import Running
from testbed.errors import BootstrapError, UnsupportedError
from testbed.lab import Saved
from testbed.moving import Moved
from testbed.render.render import render
from testbed.status import BindingStatus, NodeStatus, Status
from testbed.topology.load import load
from testbed.topology.model import Protection
from testbed.topology.plan import Esp

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

AS_ROOT = ["up third-party", "down", "cli"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No lab of this machine, no variable of whoever runs the tests; signals as before."""
    for variable in [name for name in os.environ if name.startswith("TESTBED_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Outcome:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def testbed(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(command: str | Sequence[str]) -> Outcome:
        try:
            code = cli.run(command.split() if isinstance(command, str) else command)
        except SystemExit as exited:  # argparse
            code = int(exited.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """A lab that is up as far as its notes say, whose nodes are this very process."""
    folder = tmp_path / "state" / "lab"
    for host in third_party().hosts:
        (folder / "nodes" / host / "lab" / "log").mkdir(parents=True)
    saved(Running("ha1", "radvd", US)).write(folder / "lab.json")
    return folder


class Became(Exception):  # noqa: N818  not a failure
    """We would now be another program."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The program that a command became."""
    became: list[str] = []

    def execvp(_file: str, arguments: Sequence[str]) -> None:
        became.extend(arguments)
        raise Became

    monkeypatch.setattr(os, "execvp", execvp)
    return became


def subcommand(name: str) -> Parser:
    parser = Parser(prog=f"testbed {name}")
    import_module(f"testbed.cli.{name}_command").arguments(parser)
    return parser


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_module(name: str) -> None:
    module = import_module(f"testbed.cli.{name}_command")
    assert len(inspect.signature(module.arguments).parameters) == 1
    assert inspect.iscoroutinefunction(module.run)
    assert len(inspect.signature(module.run).parameters) == 2
    assert f"testbed {name}" in (module.__doc__ or "")
    assert COMMANDS[name][0].islower() or COMMANDS[name].startswith("Mininet")


def test_each_module_is_a_command() -> None:
    found = {path.name.removesuffix("_command.py") for path in Path(cli.__file__).parent.glob("*_command.py")}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name: str, testbed: Any) -> None:
    outcome = testbed([name, "--help"])
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: testbed {name}")
    assert outcome.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_has_help_and_a_variable(name: str) -> None:
    for action in subcommand(name)._actions:
        if action.option_strings and action.dest != "help":
            assert action.help is not None
            assert f"(${'TESTBED_' + action.dest.upper()})" in action.help


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str, testbed: Any) -> None:
    outcome = testbed(option)
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)
    assert all(text in outcome.out for text in COMMANDS.values())


def test_no_command(testbed: Any) -> None:
    outcome = testbed("")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: testbed COMMAND")


def test_version(testbed: Any) -> None:
    assert testbed("--version").out == f"testbed {__version__}\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("boostrap", "did you mean 'bootstrap'?"),
        ("valdate", "did you mean 'validate'?"),
        ("zzz", "commands: scenarios,"),
    ],
)
def test_an_unknown_command(name: str, hint: str, testbed: Any) -> None:
    outcome = testbed([name, "--json"])
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: there is no command '{name}'\nhint: {hint}")


@pytest.mark.parametrize("command", ["validate", "validate a b", "status --no-such-option", "render third-party"])
def test_arguments_that_do_not_fit(command: str, testbed: Any) -> None:
    outcome = testbed(command)
    assert outcome.code == 2
    assert outcome.err.startswith("usage: testbed ")


def test_a_program_after_dashes_where_none_runs(testbed: Any) -> None:
    outcome = testbed("scenarios -- ls -l")
    assert outcome.code == 2
    assert outcome.err == "error: testbed scenarios runs no program\nhint: leave out: -- ls -l\n"


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["testbed", "no-such-command"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == f"testbed {__version__}\n"


# Options from the environment.


def options_of(*arguments: str) -> argparse.Namespace:
    parser = Parser(prog="testbed")
    parser.add_argument("--script", metavar="FILE", default=None, help="a script")
    parser.add_argument("--no-bootstrap", action="store_true", help="do not")
    lab_argument(parser)
    return parser.parse_args(arguments)


def test_defaults() -> None:
    assert vars(options_of()) == {"lab": "lab", "json": False, "script": None, "no_bootstrap": False}


@pytest.mark.parametrize(("value", "is_set"), [("1", True), ("yes", True), ("", False), ("0", False), ("no", False)])
def test_truth_values_from_the_environment(value: str, is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_JSON", value)
    monkeypatch.setenv("TESTBED_NO_BOOTSTRAP", value)
    options = options_of()
    assert (options.json, options.no_bootstrap) == (is_set, is_set)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_LAB", "")
    assert options_of().lab == "lab"


def test_texts_from_the_environment_yield_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_LAB", "other")
    monkeypatch.setenv("TESTBED_SCRIPT", "a file")
    assert (options_of().lab, options_of().script) == ("other", "a file")
    assert options_of("--lab", "third").lab == "third"


def test_a_choice_from_the_environment_is_checked(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_TIMERS", "slow")
    outcome = testbed("up third-party")
    assert outcome.code == 2
    assert outcome.err.endswith("TESTBED_TIMERS: invalid choice: 'slow' (choose from 'standard', 'fast')\n")


def test_a_required_option_from_the_environment(testbed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TESTBED_TO", str(tmp_path / "out"))
    assert testbed("render third-party").code == 0
    assert (tmp_path / "out" / "ha1").is_dir()


# Commands that need no lab.


def test_validate(testbed: Any) -> None:
    outcome = testbed("validate third-party")
    assert outcome.code == 0
    assert outcome.out == f"{THIRD_PARTY}: valid: 3 operators, 7 networks, 8 nodes, 1 mobile node\n"
    assert testbed("validate third-party --json").document == {
        "path": str(THIRD_PARTY),
        "valid": True,
        "operators": 3,
        "networks": 7,
        "nodes": 8,
        "mobile_nodes": 1,
    }
    assert testbed(["validate", str(THIRD_PARTY)]).code == 0


def test_validate_of_a_bad_topology(testbed: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(THIRD_PARTY.read_text().replace("kind: home", "kind: hoem").replace("[asp]", "[aps]"))
    outcome = testbed(["validate", str(path)])
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count(f"{path}:") == 2
    assert outcome.err.endswith("2 problems in the topology\n")
    outcome = testbed(["validate", str(path), "--json"])
    assert outcome.code == 2
    assert len(outcome.document["error"]["problems"]) == 2


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("third-part", "there is no scenario 'third-part'\nhint: did you mean 'third-party'?"),
        ("zzz", "there is no scenario 'zzz'\nhint: scenarios: "),
    ],
)
def test_a_scenario_that_does_not_exist(scenario: str, message: str, testbed: Any) -> None:
    outcome = testbed(["validate", scenario])
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")


def test_a_file_that_does_not_exist(testbed: Any, tmp_path: Path) -> None:
    outcome = testbed(["validate", str(tmp_path / "none.yaml")])
    assert outcome.code == 2
    assert "there is no such file" in outcome.err


def test_scenarios(testbed: Any) -> None:
    outcome = testbed("scenarios")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["SCENARIO", "RFC", "4640", "TITLE"]
    rows = testbed("scenarios --json").document
    assert {"scenario": "third-party", "section": "7.3", "title": load(THIRD_PARTY).title} in rows
    assert [row["scenario"] for row in rows] == sorted(path.stem for path in (ROOT / "topologies").glob("*.yaml"))


def test_scenarios_with_one_that_cannot_be_read(testbed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("title: [")
    monkeypatch.setattr("testbed.cli.scenarios.FOLDER", tmp_path)
    [row] = testbed("scenarios --json").document
    assert row == {"scenario": "bad", "section": "?", "title": "cannot be read: 1 problem in the topology"}


def test_schema(testbed: Any) -> None:
    document = testbed("schema").document
    assert {"title", "operators", "networks", "nodes", "mobile_nodes"} <= set(document["properties"])


@pytest.mark.parametrize("esp", Esp)
def test_render(esp: Esp, testbed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    outcome = testbed(["render", "third-party", "--to", str(folder), "--esp", esp.value])
    assert outcome.code == 0
    wanted = {f"{node}/{f.path}": f.content for node, files in render(third_party(esp)).items() for f in files}
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in found.items()} == wanted
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(outcome.out.splitlines()) == sorted(str(path) for path in found.values())


def test_render_as_json(testbed: Any, tmp_path: Path) -> None:
    document = testbed(["render", "third-party", "--to", str(tmp_path / "new"), "--json"]).document
    assert all(Path(path).is_file() for path in document["files"])


def test_render_writes_into_no_folder_that_exists(testbed: Any, tmp_path: Path) -> None:
    outcome = testbed(["render", "third-party", "--to", str(tmp_path)])
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {tmp_path} exists already\n")
    (tmp_path / "file").touch()
    assert testbed(["render", "third-party", "--to", str(tmp_path / "file")]).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# What needs root or a lab.


@pytest.mark.parametrize("command", AS_ROOT)
def test_not_root(command: str, testbed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = testbed(command)
    assert outcome.code == 4
    assert "error: making and removing labs needs root\nhint: sudo testbed" in outcome.err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", ["status", "bootstrap", "logs ha1", "shell ha1", "exec ha1 -- ls"])
def test_no_lab(command: str, testbed: Any) -> None:
    outcome = testbed(command)
    assert outcome.code == 1
    assert outcome.err.startswith("error: there is no lab 'lab'\nhint: ")


@pytest.mark.usefixtures("noted")
@pytest.mark.parametrize("command", ["logs ha9", "shell ha9", "exec ha9 -- ls"])
def test_no_such_node(command: str, testbed: Any) -> None:
    outcome = testbed(command)
    assert outcome.code == 1
    assert outcome.err.startswith("error: there is no node 'ha9' in lab 'lab'\n")


def test_down_and_clean_without_a_lab(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert testbed("down").out == "there was no lab 'lab'\n"
    assert testbed("down --lab other --json").document == {"lab": "other", "removed": False}
    assert testbed("clean").out == "there is no lab\n"


def test_down_and_clean(testbed: Any, noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (noted.parent / "half").mkdir()
    assert testbed("down").out == "lab 'lab' is removed\n"
    assert testbed("clean --json").document == {"removed": ["half"]}
    assert not noted.parent.exists()


def test_logs(testbed: Any, noted: Path) -> None:
    log = noted / "nodes" / "ha1" / "lab" / "log"
    (log / "radvd.log").write_text("first\nsecond\n")
    assert testbed("logs ha1").out == "first\nsecond\n"
    (log / "strongswan.log").write_bytes(b"third \xff\n")
    assert testbed("logs ha1").out == "radvd: first\nradvd: second\nstrongswan: third \ufffd\n"
    assert testbed("logs ha1 radvd").out == "first\nsecond\n"
    assert testbed("logs ha1 --json").document == {"radvd": ["first", "second"], "strongswan": ["third \ufffd"]}
    outcome = testbed("logs ha1 kea")
    assert outcome.code == 2
    assert outcome.err == "error: ha1 has no daemon 'kea'\nhint: its daemons: radvd, strongswan\n"


def test_logs_follow(noted: Path, executed: list[str]) -> None:
    log = noted / "nodes" / "ha1" / "lab" / "log" / "radvd.log"
    log.touch()
    with pytest.raises(Became):
        cli.run(["logs", "ha1", "-f"])
    assert executed == ["tail", "-n", "+1", "-F", str(log)]


@pytest.mark.usefixtures("noted")
def test_exec_becomes_the_program(executed: list[str]) -> None:
    with pytest.raises(Became):
        cli.run(["exec", "ha1", "--", "ip", "-6", "route", "--", "--json"])
    entered = f"nsenter -t {os.getpid()} -n -m -p -u --".split()
    assert executed == [*entered, "ip", "-6", "route", "--", "--json"]


@pytest.mark.usefixtures("noted")
def test_exec_without_a_program(testbed: Any) -> None:
    outcome = testbed("exec ha1")
    assert outcome.code == 2
    assert outcome.err == "error: there is no program to run\nhint: testbed exec ha1 -- ip -6 address\n"


@pytest.mark.usefixtures("noted")
def test_exec_as_json(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.runtime.base.Room.command", lambda _self, arguments: list(arguments))
    outcome = testbed(["exec", "ha1", "--json", "--", "sh", "-c", "echo out; exit 7"])
    assert outcome.code == 7
    program = ["sh", "-c", "echo out; exit 7"]
    assert outcome.document == {"node": "ha1", "program": program, "status": 7, "output": "out\n"}


@pytest.mark.usefixtures("noted")
def test_shell(executed: list[str]) -> None:
    with pytest.raises(Became):
        cli.run(["shell", "ha1"])
    assert executed[-5:] == ["env", "PS1=ha1# ", "bash", "--norc", "-i"]


@pytest.mark.parametrize(("missing", "code"), [("", 0), ("neither ESP nor TUN in the kernel", 4)])
def test_doctor(missing: str, code: int, testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine() -> doctor.Diagnosis:
        finding = doctor.Finding("kernel", "Linux 6.1")
        tool = doctor.Finding("radvd", "2.19")
        feature = doctor.Finding("netem", "", "Error: Unknown qdisc.", "delay, loss and jitter")
        protections = dict.fromkeys(Protection, "not implemented") | {Protection.TUNNEL: missing}
        return doctor.Diagnosis((finding,), (tool,), (feature,), protections)

    monkeypatch.setattr("testbed.cli.doctor_command.examine", examine)
    outcome = testbed("doctor")
    assert outcome.code == code
    assert "  netem  missing  Error: Unknown qdisc.\n" in outcome.out
    told = next(line.split(maxsplit=1) for line in outcome.out.splitlines() if line.startswith("  third-party "))
    assert " ".join(told[1].split()) == (f"no {missing}" if missing else "can run")
    assert outcome.out.startswith("machine\n  kernel  Linux 6.1\n")
    document = testbed("doctor --json").document
    assert document["scenarios"]["third-party"] == missing
    assert document["protections"]["tunnel"] == missing


# How a command ends.


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    async def run(*_: object) -> int:
        raise error

    monkeypatch.setattr("testbed.cli.scenarios_command.run", run)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnsupportedError("no such kernel"), 4),
        (BootstrapError("refused", step="ike", where="mn1"), 1),
        (KeyboardInterrupt(), 130),
        (asyncio.CancelledError(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int, testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, error)
    outcome = testbed("scenarios")
    assert outcome.code == code
    assert outcome.err


def test_what_the_machine_refuses_is_told(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, OSError(28, "No space left on device", "/run/x"))
    outcome = testbed("scenarios")
    assert outcome.code == 1
    assert outcome.err == "error: /run/x: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_undoes_what_was_begun(number: signal.Signals, testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    undone = []

    async def run(*_: object) -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(20)
        finally:
            undone.append(number)
        return 0

    monkeypatch.setattr("testbed.cli.scenarios_command.run", run)
    outcome = testbed("scenarios")
    assert (outcome.code, undone) == (130, [number])
    assert outcome.err.startswith("interrupted")


# Commands on a lab that is up, without its work.

DONE = Bootstrapped("mn1", "ha1.carrier.example", "2001:db8:7::1", "2001:db8:7::1:1", "2001:db8:5::9", 0.5, 0.25)
ROW = "  mn1          2001:db8:7::1:1  2001:db8:5::9    ha1.carrier.example  0.500 s    0.250 s\n"


def outcomes(monkeypatch: pytest.MonkeyPatch, command: str, **results: Any) -> None:
    """Say what functions give that a command calls."""
    for name, result in results.items():

        async def work(*_: object, result: Any = result) -> Any:
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(f"testbed.cli.{command}_command.{name}", work)


@pytest.mark.usefixtures("noted")
def test_bootstrap(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes(monkeypatch, "bootstrap", bootstrap=[DONE])
    outcome = testbed("bootstrap mn1")
    assert outcome.code == 0
    assert outcome.out.endswith(ROW)
    assert testbed("bootstrap --json").document[0]["home_address"] == "2001:db8:7::1:1"


@pytest.mark.usefixtures("noted")
def test_status(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = NodeStatus("ha1", "carrier", True, ("2001:db8:7::1",), {"radvd": True, "strongswan": False})
    gone = NodeStatus("cn1", None, False, (), {})
    binding = BindingStatus("mn1", "registered", "2001:db8:7::1:1", "2001:db8:5::9", "2001:db8:7::1", 599.4, "")
    lost = BindingStatus("mn2", "unknown", None, None, None, None, "it is ill")
    outcomes(monkeypatch, "status", status=Status((node, gone), (binding, lost)))
    outcome = testbed("status")
    assert outcome.code == 1
    assert "  ha1         carrier   2001:db8:7::1  radvd strongswan (dead)\n" in outcome.out
    assert "  cn1 (dead)  -         -              -\n" in outcome.out
    assert " 599 s  the same\n" in outcome.out
    assert " -      it is ill\n" in outcome.out
    assert testbed("status --json").document["sound"] is False
    outcomes(monkeypatch, "status", status=Status((), (binding,)))
    assert testbed("status").code == 0


@pytest.mark.usefixtures("noted")
def test_move_and_deregister(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Moved("mn1", "access2", "2001:db8:7::1:1", "2001:db8:6::9", at_home=False, seconds=0.5, waiting=0.0)
    outcomes(monkeypatch, "move", move=moved)
    outcome = testbed("move mn1 access2")
    assert outcome.out.startswith("mn1 is on access2: 2001:db8:7::1:1 ")
    assert testbed("move mn1 access2 --json").document["network"] == "access2"
    outcomes(monkeypatch, "deregister", deregister="2001:db8:7::1:1")
    assert testbed("deregister mn1").out == "mn1 gave up 2001:db8:7::1:1\n"


def ours(noted: Path) -> lab.Lab:
    return lab.Lab("lab", noted, Saved.read(noted / "lab.json"))


def test_up(testbed: Any, noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes(monkeypatch, "up", up=ours(noted), bootstrap=[DONE])
    outcome = testbed("up third-party --timers fast")
    assert outcome.code == 0
    assert ROW in outcome.out
    assert "the lab stays up; try\n" in outcome.out
    assert "exec cn1 -- ping 2001:db8:7::1:1" in outcome.out
    document = testbed("up third-party --json").document
    assert (document["lab"], document["scenario"]) == ("lab", "third-party")
    outcome = testbed("up third-party --no-bootstrap")
    assert outcome.code == 0
    assert "ping" not in outcome.out


def test_a_lab_whose_bootstrap_fails_stays_up(testbed: Any, noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(ours(noted), name="other")
    outcomes(monkeypatch, "up", up=other, bootstrap=BootstrapError("refused", step="ike", where="mn1"))
    outcome = testbed("up third-party --lab other")
    assert outcome.code == 1
    assert "lab 'other' stays up" in outcome.out
    assert "--lab other" in outcome.out
    assert outcome.err == "error: mn1 at step 'ike': refused\n"


def test_an_interrupted_bootstrap_takes_the_lab_down(
    testbed: Any, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []

    async def down(name: str) -> bool:
        removed.append(name)
        return True

    outcomes(monkeypatch, "up", up=ours(noted), bootstrap=asyncio.CancelledError())
    monkeypatch.setattr("testbed.cli.up_command.down", down)
    assert testbed("up third-party").code == 130
    assert removed == ["lab"]


def test_a_wrong_name_of_a_lab_is_told_before_anything_is_read(testbed: Any) -> None:
    outcome = testbed("up no-such-scenario --lab ../x")
    assert outcome.code == 2
    assert "'../x' is no name for a lab" in outcome.err


def test_the_default_lab() -> None:
    assert lab.DEFAULT_NAME == "lab"
