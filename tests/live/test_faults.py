"""What goes wrong is told once and clearly, with the evidence and the right exit code, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import FAST, Cli, Done, Host, command_line, needs_root
from veth import until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, needs_root]

# who can read the project, wherever it was checked out
NOBODY = (
    *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
FAILED, USAGE, UNSUPPORTED = 1, 2, 4


@pytest.fixture(scope="module")
def without_charon() -> Iterator[tuple[Cli, subprocess.Popen[str]]]:
    """A bootstrap that runs while the other tests do: it takes IKE a while to give a home agent up."""
    with command_line() as cli:
        cli("up", "third-party", *FAST, "--no-bootstrap")
        charon = cli.room("lab", "ha1")
        (running,) = [r for r in cli.saved("lab").running if (r.node, r.daemon) == ("ha1", "strongswan")]
        # what was noted is our side's nsenter; the daemon is its child in the node
        (child,) = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        until(lambda: not running.process.alive)
        assert charon.init.alive
        process = cli.start("bootstrap", "--json")
        yield cli, process
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def cli(without_charon: tuple[Cli, subprocess.Popen[str]]) -> Iterator[Cli]:
    assert without_charon
    with command_line() as cli:
        yield cli


@pytest.fixture(autouse=True)
def machine(cli: Cli) -> Iterator[None]:
    """See after each test that nothing is left."""
    host = Host.now()
    yield
    try:
        cli.assert_nothing_left()
    finally:
        cli("clean")  # so that one failure does not make more
    host.assert_unchanged()


def told(done: Done) -> tuple[str, list[str], str]:
    """Give the message, the lines of evidence and the hint of the one error that a person is told."""
    lines = done.err.splitlines()
    (start,) = [n for n, line in enumerate(lines) if line.startswith("error: ")]
    evidence = [line.strip() for line in lines[start + 1 :] if line.startswith("    ")]
    hints = [line.removeprefix("hint: ") for line in lines[start + 1 :] if line.startswith("hint: ")]
    assert len(lines[start:]) == 1 + len(evidence) + len(hints), done.err
    return lines[start].removeprefix("error: "), evidence, "".join(hints)


def test_a_daemon_that_ends_at_once_is_told_by_its_status(cli: Cli) -> None:
    message, _, _ = told(cli.broken("daemon_dies", "up", "third-party", *FAST, status=FAILED))
    assert re.fullmatch(r"(ar1|ar2|ha1)/radvd: radvd ended with status 1 while starting", message)


def test_a_daemon_that_ends_is_told_with_its_last_words(cli: Cli) -> None:
    done = cli.broken("daemon_dies_talking", "up", "third-party", *FAST, status=FAILED)
    message, evidence, _ = told(done)
    assert message == "ha1/home-agent: home-agent ended with status 3 while starting"
    assert evidence.count("my last words") == 1


def test_a_daemon_that_never_gets_ready_is_told_with_what_was_waited_for(cli: Cli) -> None:
    message, evidence, _ = told(cli.broken("daemon_hangs", "up", "third-party", *FAST, status=FAILED))
    assert re.fullmatch(r"ar[12]/kea: not within 0\.3 s: Kea listens on UDP port 547", message)
    assert "no socket on UDP port 547" in evidence


def test_a_port_that_is_taken_is_told_in_the_daemons_own_words(cli: Cli) -> None:
    message, evidence, _ = told(cli.broken("port_taken", "up", "third-party", *FAST, status=FAILED))
    assert message == "aaa1/freeradius: freeradius ended with status 1 while starting"
    assert any("Address already in use" in line for line in evidence)


def test_a_configuration_that_a_checker_refuses_is_told_before_any_daemon_starts(cli: Cli) -> None:
    done = cli.broken("checker_refuses", "up", "third-party", *FAST, status=FAILED)
    message, evidence, hint = told(done)
    assert message == "ns1/bind: named-checkconf refuses the configuration"
    assert any("unknown option 'nonsense'" in line for line in evidence)
    assert "render" in hint
    assert "ready" not in done.out


def test_a_guard_that_nftables_refuses_stops_the_lab(cli: Cli) -> None:
    message, evidence, _ = told(cli.broken("guard_refused", "up", "third-party", *FAST, status=FAILED))
    assert message == "ha1/home-agent: nft refuses the configuration"
    assert any("syntax error" in line for line in evidence)


def test_a_fault_is_told_as_json_too(cli: Cli) -> None:
    error = cli.broken("daemon_dies_talking", "up", "third-party", *FAST, "--json", status=FAILED).error
    assert error["where"] == "ha1/home-agent"
    assert "my last words" in error["evidence"]


def test_without_root_no_lab_is_made(cli: Cli) -> None:
    for command in (("up", "third-party"), ("down",), ("clean",)):
        message, _, hint = told(cli(*command, through=NOBODY, status=UNSUPPORTED, TESTBED_STATE="/run/nobodys"))
        assert "needs root" in message
        assert "sudo" in hint
    assert not Path("/run/nobodys").exists()


def test_without_root_everything_that_only_reads_works(cli: Cli) -> None:
    assert "valid" in cli("validate", "third-party", through=NOBODY).out
    assert "third-party" in cli("scenarios", through=NOBODY).out
    assert cli("schema", through=NOBODY).document["title"]
    doctor = cli("doctor", "--json", through=NOBODY, status=UNSUPPORTED).document
    assert "root" in doctor["scenarios"]["third-party"]


def test_without_root_the_labs_of_root_are_told_to_be_his(without_charon: tuple[Cli, subprocess.Popen[str]]) -> None:
    cli, _ = without_charon
    cli.state.parent.chmod(0o711)
    for command in (("status",), ("exec", "mn1", "--", "true"), ("logs", "mn1"), ("bootstrap",)):
        message, _, hint = told(cli.broken("as_nobody", *command, status=UNSUPPORTED))
        assert "root" in message
        assert "sudo" in hint


@pytest.mark.parametrize("tool", ["radvd", "named", "named-checkconf", "freeradius", "nft", "kea-dhcp6"])
def test_a_tool_that_is_missing_is_named(cli: Cli, tmp_path: Path, tool: str) -> None:
    done = cli("up", "third-party", *FAST, status=None, PATH=_without(tool, tmp_path))
    message, evidence, hint = told(done)
    assert tool in " ".join((message, *evidence))
    assert "doctor" in hint
    assert done.status == UNSUPPORTED


@pytest.mark.parametrize("tool", ["unshare", "nsenter"])
def test_a_tool_that_makes_or_enters_nodes_is_missed_too(cli: Cli, tmp_path: Path, tool: str) -> None:
    done = cli("up", "third-party", *FAST, status=UNSUPPORTED, PATH=_without(tool, tmp_path))
    assert tool in told(done)[0]


def test_doctor_names_the_package_of_a_tool_that_is_missing(cli: Cli, tmp_path: Path) -> None:
    done = cli("doctor", "--json", status=UNSUPPORTED, PATH=_without("radvd", tmp_path))
    (finding,) = [tool for tool in done.document["tools"] if tool["name"] == "radvd"]
    assert finding["missing"] == "install the package radvd"
    assert "radvd" in done.document["scenarios"]["third-party"]
    assert cli("doctor").status == 0


def test_doctor_tells_a_kernel_that_can_do_nothing(cli: Cli) -> None:
    document = cli.broken("no_feature", "doctor", "--json", status=UNSUPPORTED).document
    assert document["protections"]["tunnel"] == "neither ESP nor TUN in the kernel"
    assert "bridge: Operation not supported" in document["scenarios"]["third-party"]


def test_a_kernel_without_bridges_is_told(cli: Cli) -> None:
    done = cli.broken("no_bridge", "up", "third-party", *FAST)
    message, _, _ = told(done)
    assert "bridge" in message
    assert "not supported" in message
    assert done.status in {FAILED, UNSUPPORTED}


def test_a_kernel_without_tun_is_told(cli: Cli) -> None:
    """Where charon does ESP itself; a kernel that has ESP needs no TUN."""
    hidden = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/net/tun && exec "$@"', "sh")
    done = cli("up", "third-party", *FAST, through=hidden, status=None)
    if "ESP by kernel" in done.out:
        pytest.skip("the kernel has ESP")
    message, evidence, _ = told(done)
    assert done.status in {FAILED, UNSUPPORTED}
    assert "TUN" in " ".join((message, *evidence)).upper()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "x/../../y", "X", "a b", "-", "a" * 32])
def test_down_removes_no_folder_that_is_no_lab(cli: Cli, name: str) -> None:
    cli.state.mkdir(mode=0o700)
    treasure = cli.state.parent / "y"
    treasure.mkdir(exist_ok=True)
    try:
        message, _, hint = told(cli("down", f"--lab={name}", status=USAGE))
        assert message == f"{name!r} is no name for a lab"
        assert "letters" in hint
        assert treasure.exists()
    finally:
        cli.state.rmdir()


def test_a_name_that_is_none_is_refused_by_every_command(cli: Cli) -> None:
    for command in (("up", "third-party"), ("status",), ("bootstrap",), ("logs", "mn1"), ("shell", "mn1")):
        assert "is no name for a lab" in told(cli(*command, "--lab=../y", status=USAGE))[0]


def test_commands_on_a_lab_that_is_not_there_say_so(cli: Cli) -> None:
    for command in (("status",), ("bootstrap",), ("exec", "mn1", "--", "true"), ("logs", "mn1"), ("shell", "mn1")):
        message, _, hint = told(cli(*command, status=FAILED))
        assert message == "there is no lab 'lab'"
        assert "testbed up" in hint


def test_a_home_agent_that_does_not_answer_fails_the_step_ike(
    without_charon: tuple[Cli, subprocess.Popen[str]],
) -> None:
    cli, process = without_charon
    error = cli.wait(process, status=FAILED).error
    assert (error["step"], error["where"]) == ("ike", "mn1")
    assert "ha1.carrier.example" in error["message"]
    assert any("retransmit" in line for line in error["evidence"])
    state = cli("status", "--json", status=FAILED).document
    assert state["sound"] is False
    assert next(n for n in state["nodes"] if n["name"] == "ha1")["daemons"]["strongswan"] is False
    cli("down")
    cli.assert_nothing_left()


def _without(tool: str, folder: Path) -> str:
    """Give a search path with every program but one; without nft, also without what can stand in for it."""
    hidden = ("nft", "ip6tables") if tool == "nft" else (tool,)
    for name in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(name).iterdir() if Path(name).is_dir() else ():
            link = folder / program.name
            if program.name != tool and not program.name.startswith(hidden[1:]) and not link.is_symlink():
                link.symlink_to(program)
    assert shutil.which(tool, path=str(folder)) is None
    return str(folder)
