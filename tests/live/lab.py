"""The command line as a test uses it: with a state folder of its own, and a mark on all that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml
from veth import until

from testbed.lab import Saved
from testbed.runtime.base import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROJECT = Path(__file__).parents[2]
TESTBED = str(PROJECT / ".venv" / "bin" / "testbed")
THIRD_PARTY = PROJECT / "topologies" / "third-party.yaml"
LIMIT = 60.0  # seconds that a command may take on a busy machine
FAST = ("--timers", "fast")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_MARK = "LIVE_TEST"
_SYSCTLS = ("net/core", "net/ipv4", "net/ipv6", "fs/file-max", "fs/pipe-max-size", "kernel/pty/max", "kernel/hostname")
_RECORD = struct.Struct("=IIII")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return self.document["error"]


class Cli:
    """``testbed`` with labs of its own; every process that comes of it is found by a variable in its environment."""

    def __init__(self) -> None:
        # short: the path of a Unix socket has 107 octets
        self._root = Path(tempfile.mkdtemp(prefix="live", dir="/tmp"))
        self.state = self._root / "s"
        self.token = uuid.uuid4().hex
        self.said: list[str] = []
        self.environment = {**os.environ, "TESTBED_STATE": str(self.state), _MARK: self.token}

    def __call__(
        self, *arguments: str, status: int | None = 0, through: tuple[str, ...] = (), **environment: str
    ) -> Done:
        """Run a command to its end; ``status`` is what its exit code must be."""
        process = self.start(*arguments, through=through, **environment)
        return self.wait(process, status=status)

    def start(self, *arguments: str, through: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
        """Start a command; ``through`` stands before it and executes it."""
        return subprocess.Popen(
            [*through, TESTBED, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **environment},
        )

    def broken(self, fault: str, *arguments: str, status: int | None = None) -> Done:
        """Run a command in which a fault is injected; see ``broken``."""
        script = str(Path(__file__).with_name("broken.py"))
        process = subprocess.Popen(
            [sys.executable, script, fault, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        return self.wait(process, status=status)

    def wait(self, process: subprocess.Popen[str], *, status: int | None = 0) -> Done:
        """Wait for the end of a command that was started."""
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{process.args!r} did not end:\n{out}{err}")
        self.said += [out, err]
        done = Done(process.returncode, out, err)
        assert status is None or done.status == status, f"{process.args!r}: exit code {done.status}\n{done.text}"
        # Python's own start can be interrupted by nobody but Python
        assert done.status == -signal.SIGINT or "Traceback" not in done.text, f"{process.args!r}:\n{done.text}"
        return done

    def processes(self) -> dict[int, str]:
        """Give the command lines of what was started and runs, by PID."""
        wanted = f"{_MARK}={self.token}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def namespaces(self) -> set[str]:
        """Give the namespaces of all kinds that what was started lives in, the machine's own not among them."""
        return _namespaces(self.processes()) - _namespaces([1, os.getpid()])

    def saved(self, lab: str) -> Saved:
        return Saved.read(self.state / lab / "lab.json")

    def room(self, lab: str, node: str) -> Room:
        return Room(node, self.saved(lab).rooms[node], self.state / lab / "nodes" / node)

    def assert_nothing_left(self) -> None:
        """See that no process runs and no file is there; what was killed may take a moment to die."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.processes())
        assert self.processes() == {}
        assert sorted(map(str, self.state.rglob("*"))) == []
        assert not self.state.exists()

    def close(self) -> None:
        """Remove all labs, whatever state they are in."""
        try:
            if self.state.exists():
                self("clean")
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self._root, ignore_errors=True)


@contextlib.contextmanager
def command_line() -> Iterator[Cli]:
    """Give a command line of its own, and remove its labs afterwards."""
    cli = Cli()
    try:
        yield cli
    finally:
        cli.close()


@dataclass(frozen=True)
class Host:
    """What a lab must leave as it was on the machine."""

    interfaces: frozenset[str]
    ruleset: str
    sysctls: dict[str, str]
    mounts: frozenset[str]
    files: dict[str, str]

    @classmethod
    def now(cls) -> Host:
        return cls(
            frozenset(entry.name for entry in Path("/sys/class/net").iterdir()),
            subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout,
            _sysctls(),
            frozenset(_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()),
            _files(),
        )

    def assert_unchanged(self) -> None:
        now = Host.now()
        assert now.interfaces == self.interfaces
        assert now.ruleset == self.ruleset
        assert {k: v for k, v in now.sysctls.items() if self.sysctls.get(k) != v} == {}
        assert now.mounts - self.mounts == frozenset()
        assert now.files == self.files


def namespaces_that_exist() -> set[str]:
    """Give all namespaces that a process lives in or that a mount keeps."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    mounted = {line.split()[3] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " in line}
    return _namespaces(pids) | mounted


def derived(path: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """Write a topology made from third-party, and give its path."""
    document = yaml.safe_load(THIRD_PARTY.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)


def mobile_node(name: str, *, attach: str = "access1", mistyped: bool = False) -> dict[str, Any]:
    """Describe one more subscriber of corp."""
    return {
        "attach": attach,
        "nai": f"{name}@corp.example",
        "credential": {"method": "eap-mschapv2", "mistyped": mistyped},
        "home_agent": {"discovery": "dns-srv", "domain": "carrier.example"},
    }


class Capture:
    """A tcpdump on an interface of a node, which loses nothing."""

    def __init__(self, room: Room, interface: str, folder: Path) -> None:
        self._path = folder / f"{room.name}-{interface}-{uuid.uuid4().hex}.pcap"
        self._report = self._path.with_suffix(".txt")
        with self._report.open("wb") as report:
            self._process = subprocess.Popen(
                # -n of nsenter alone: no fork, so that signals reach tcpdump
                [
                    *("nsenter", "-t", str(room.init.pid), "-n", "--"),
                    *("tcpdump", "-n", "-p", "--immediate-mode", "-U", "-Z", "root"),
                    *("-i", interface, "-w", str(self._path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=report,
            )
        until(lambda: "listening on" in self._report.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def path(self) -> Path:
        return self._path

    def packets(self) -> list[bytes]:
        """Give the IPv6 packets that are in the file by now."""
        octets = self._path.read_bytes()
        found, at = [], 24
        while at + _RECORD.size <= len(octets):
            length = _RECORD.unpack_from(octets, at)[2]
            frame = octets[at + _RECORD.size : at + _RECORD.size + length]
            if len(frame) == length and frame[12:14] == b"\x86\xdd":
                found.append(frame[14:])
            at += _RECORD.size + length
        return found

    def stop(self) -> list[bytes]:
        """End it once all that passed the interface is in the file."""
        until(self._complete)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(LIMIT)
        return self.packets()

    def _complete(self) -> bool:
        before = self._report.read_text().count("packets received by filter")
        self._process.send_signal(signal.SIGUSR1)
        until(lambda: self._report.read_text().count("dropped by kernel") > before)
        counts = [int(word) for word in self._report.read_text().splitlines()[-1].split() if word.isdigit()]
        captured, received, dropped = counts[:3]
        assert dropped == 0
        return captured == received


def _namespaces(pids: Iterable[int]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            (process / "exe").readlink()  # fails for the dead that nobody has waited for
            found.update(str((process / "ns" / kind).readlink()) for kind in ("net", "mnt", "pid", "uts"))
    return found


def _sysctls() -> dict[str, str]:
    values = {}
    for root in _SYSCTLS:
        path = Path("/proc/sys", root)
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and file.stat().st_mode & 0o444:
                with contextlib.suppress(OSError):
                    values[str(file)] = file.read_text()
    return values


def _mount(line: str) -> str:
    """Where it is mounted and what; without the numbers of mounts and devices."""
    fields = line.split()
    return " ".join((fields[3], fields[4], *fields[fields.index("-") + 1 :][:2]))


def _files() -> dict[str, str]:
    files = {name: Path(name).read_text() for name in ("/etc/hosts", "/etc/resolv.conf") if Path(name).is_file()}
    runtime = sorted(
        entry.name for entry in Path("/run").iterdir() if entry.name != "testbed"
    )  # somebody else's labs may be there
    return {**files, "/run": " ".join(runtime)}
