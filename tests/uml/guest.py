"""A machine with a full kernel: user-mode-linux, a kernel that is an ordinary program, on this machine's files.

By hand: ``guest.py FOLDER COMMAND...`` runs a command in a guest and shows its output.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "linux.uml"
PROJECT = Path(__file__).parents[2]
_MEMORY = 1024  # MiB; what the guest uses of it is all that it costs
_GRACE = 5  # seconds
_INIT = Path(__file__).with_name("init.sh")


class GuestError(Exception):
    """A guest did not come up, or did not end; the text has its output."""


@dataclass(frozen=True)
class Ended:
    """A guest that powered itself off; ``status`` is that of its command, ``output`` what it printed."""

    status: int
    output: str


def boot(folder: Path, command: Sequence[str], *, deadline: float) -> Ended:
    """Boot a guest, run a command in it as root, power it off.

    Its root is this machine's file system, read-only. ``folder`` can be written; the command finds it as /run/guest.
    The working directory is the project.

    Args:
        folder: exists; its path has no blanks and no commas.
        command: a program and its arguments.
        deadline: seconds, for all of it; then the guest is killed.

    Raises:
        GuestError: it did not end in time, or it ended before the command did.
    """
    if any(sign in str(folder) for sign in ", \t\n"):
        raise GuestError(f"a guest cannot find a folder with such a name: {folder}")
    shutil.copy(_INIT, folder / "init")
    (folder / "init").chmod(0o755)
    (folder / "project").write_text(f"{PROJECT}\n")
    (folder / "deadline").write_text(f"{int(deadline) + _GRACE}\n")  # it ends by itself, too, where we are killed
    (folder / "command").write_text(f"cd {shlex.quote(str(PROJECT))} && exec {shlex.join(command)}\n")
    output, status, console = folder / "output", folder / "status", folder / "console"
    for file in (output, status):
        file.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="uml") as own, console.open("wb") as said:
        process = subprocess.Popen(
            [
                *(PROGRAM, f"mem={_MEMORY}M", f"uml_dir={own}", "umid=guest", "rootfstype=hostfs", "rootflags=/", "ro"),
                *(f"init={folder}/init", f"guest_folder={folder}", "panic=-1"),
                *("con=null", "con0=fd:0,fd:1", "ssl=null", "quiet", "loglevel=4"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": _memory_folder()},
        )
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest did not end within {deadline:g} s\n{_text(console)}{_text(output)}") from None
        finally:
            _kill(process)
    if not status.exists():
        raise GuestError(f"the guest ended before its command did\n{_text(console)}{_text(output)}")
    return Ended(int(status.read_text()), _text(output))


def _memory_folder() -> str:
    """Return where the guest's memory goes: into a file, which had better be in memory, if there is room for it."""
    shared = Path("/dev/shm")  # noqa: S108  user-mode-linux makes a file there that has no name
    try:
        room = shutil.disk_usage(shared).free
    except OSError:
        room = 0
    return str(shared) if room > _MEMORY << 20 else tempfile.gettempdir()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a guest: they are one group, and do not die with the first."""
    end = time.monotonic() + _GRACE
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.01)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


if __name__ == "__main__":
    try:
        ended = boot(Path(sys.argv[1]).resolve(), sys.argv[2:], deadline=float(os.environ.get("DEADLINE", "120")))
    except GuestError as error:
        sys.exit(str(error))
    sys.stdout.write(ended.output)
    sys.exit(ended.status)
