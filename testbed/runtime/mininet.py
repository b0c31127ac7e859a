"""Nodes as Mininet hosts that outlive the command that made them.

Stock Mininet starts a bash for each host, wired to its own process by a pty, and runs ``ip`` and ``ifconfig`` for
each step. Here a node is an init process (``node.sh``); its shell is started when somebody first asks for one; links
are made by the fabric, in batches, and Mininet is told of them.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Node

from testbed.errors import LabError, NotReadyError
from testbed.runtime.base import FABRIC, Inhabitant, Room, mark
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.topology.plan import Plan

_START_DEADLINE = 10.0


class GroupPopen(subprocess.Popen[bytes]):
    """A process in a node: nsenter forks, so a signal has to go to the group or only nsenter gets it."""

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process and all that it started."""
        if self.poll() is None:
            os.killpg(self.pid, sig)


class LabNode(Node):  # type: ignore[misc]  # Mininet has no types
    """A Mininet node around an init process of its own: a running one (``room``), else a new one in ``folder``."""

    def __init__(self, name: str, *, room: Room | None = None, folder: Path | None = None, **params: Any) -> None:
        self.room = room
        self.folder = folder
        self.starter: subprocess.Popen[bytes] | None = None
        super().__init__(name, **{**params, "inNamespace": True})

    @classmethod
    def checkSetup(cls) -> None:  # noqa: N802  Mininet's name
        """Ask for none of the programs that stock nodes run: mnexec, ifconfig."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: ARG002, N802  Mininet's name and parameter
        """Start or attach to the node's init; the shell itself waits until it is wanted."""
        if self.room:
            self.pid = self.room.init.pid
        elif self.folder:
            script = str(files("testbed.runtime") / "node.sh")
            self.starter = subprocess.Popen(
                [
                    *(
                        "unshare",
                        "--net",
                        "--mount",
                        "--pid",
                        "--uts",
                        "--fork",
                        "--kill-child",
                        "--mount-proc",
                    ),
                    *("/bin/sh", script, self.name, str(self.folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **mark(self.folder)},
            )

    async def ready(self) -> Room:
        """Wait until the init runs in its namespaces.

        Raises:
            NotReadyError: it failed; carries what it said.
        """
        starter, folder = self.starter, self.folder
        assert starter is not None  # noqa: S101  a node that was attached is not waited for
        assert starter.stdout is not None  # noqa: S101
        assert folder is not None  # noqa: S101
        os.set_blocking(starter.stdout.fileno(), False)
        said = b""

        def announced() -> None:
            nonlocal said
            assert starter.stdout is not None  # noqa: S101
            said += starter.stdout.read() or b""
            if b"ready\n" in said:
                return
            if starter.poll() is not None:
                raise NotReadyError(
                    "its init ended",
                    where=self.name,
                    evidence=tuple(said.decode(errors="replace").splitlines()),
                )
            raise Unmet(said.decode(errors="replace"))

        await wait_until(announced, deadline=_START_DEADLINE, what="the node's init runs", where=self.name)
        starter.stdout.close()
        self.room = Room(self.name, Inhabitant.of(_child(starter.pid)), folder)
        self.pid = self.room.init.pid
        return self.room

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802  Mininet's name
        """Send a command to the node's shell, which is started for the first one."""
        if self.shell is None:
            self._open_shell()
        super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command in the node's shell and return what it printed."""
        if self.shell is None:
            self._open_shell()
        return super().cmd(*args, **kwargs)

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        """Start a program in the node, beside the shell."""
        kwargs.setdefault("mncmd", self._entered())
        return super().popen(*args, **kwargs)

    def terminate(self) -> None:
        """Let go of the node: end our shell, leave the init."""
        if self.shell and self.shell.poll() is None:
            os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()
        self.cleanup()

    def _popen(self, cmd: Sequence[str], **params: Any) -> GroupPopen:
        return GroupPopen(cmd, start_new_session=True, **params)

    def _entered(self) -> list[str]:
        if self.room is None or not self.room.init.alive:
            raise LabError("the node does not run any more", where=self.name)
        return self.room.command([])

    def _open_shell(self) -> None:
        # setsid inside the PID namespace makes the pty the shell's controlling terminal: without it ^C does nothing
        pid = self.pid
        entered = self._entered()
        master, slave = pty.openpty()
        prompt = chr(127)
        command = [
            "setsid",
            "-c",
            "env",
            f"PS1={prompt}",
            "bash",
            "--norc",
            "--noediting",
            "-is",
            f"mininet:{self.name}",
        ]
        self.master, self.slave = master, slave
        self.shell = self._popen([*entered, *command], stdin=slave, stdout=slave, stderr=slave, close_fds=False)
        self._listen()
        self.pid = pid

    def _listen(self) -> None:
        import select  # noqa: PLC0415

        self.stdin = self.stdout = os.fdopen(self.master, "r")
        self.pollOut = select.poll()
        self.pollOut.register(self.stdout)
        self.outToNode[self.stdout.fileno()] = self
        self.inToNode[self.stdin.fileno()] = self
        self.waiting = True
        self.waitOutput()
        super().cmd("unset HISTFILE; stty -echo; set +m")


class LabSwitch(LabNode):
    """A network's bridge in the fabric; Mininet shows it as a switch."""

    def start(self, controllers: Sequence[object]) -> None:
        """Do nothing: the fabric made the bridge."""

    def defaultIntf(self) -> Any:  # noqa: N802  Mininet's name
        """Return its first port."""
        return super().defaultIntf()


class LabIntf(Intf):  # type: ignore[misc]
    """An interface that exists already: nothing is configured, and addresses are asked of the kernel."""

    def config(self, **_params: Any) -> dict[str, str]:
        """Leave the interface as the fabric made it."""
        return {}


class LabLink(Link):  # type: ignore[misc]
    """A link that the fabric made."""

    def __init__(self, node1: Node, node2: Node, **params: Any) -> None:
        super().__init__(node1, node2, **{**params, "intf": LabIntf})

    @classmethod
    def makeIntfPair(cls, *_args: Any, **_kwargs: Any) -> None:  # noqa: N802  Mininet's name
        """Do nothing: the pair exists."""


class MininetRuntime:
    """Makes nodes as Mininet hosts in namespaces of this machine."""

    async def create(self, names: Sequence[str], folder: Path) -> dict[str, Room]:
        """Make a node for each name, all at the same time."""
        net = _empty()
        for name in names:
            net.addHost(name, folder=folder / name, ip=None)
        return {node.name: await node.ready() for node in net.hosts}


def attach(plan: Plan, rooms: dict[str, Room]) -> Mininet:
    """Describe a running lab to Mininet: hosts, a switch for each network, links."""
    net = _empty()
    for wire in plan.wires.values():
        net.addSwitch(wire.name, cls=LabSwitch, room=rooms[FABRIC])
    for host in plan.hosts.values():
        net.addHost(host.name, room=rooms[host.name], ip=None)
        for leg in host.legs:
            net.addLink(host.name, leg.network, intfName1=leg.name, intfName2=leg.port, addr1=leg.mac)
    return net


def detach(net: Mininet) -> None:
    """End what Mininet started for us; ``Mininet.stop`` would delete every link of the lab."""
    for node in net.values():
        node.terminate()


def _child(pid: int) -> int:
    """Return the only child of a process: unshare forks, and what it forked is the init."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _empty() -> Mininet:
    Mininet.inited = True  # its initialisation changes limits and sysctls of the host: none of our business
    return Mininet(build=False, host=LabNode, switch=LabSwitch, link=LabLink, controller=None)
