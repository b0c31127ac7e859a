"""Entering the network namespace of another process for the length of a with statement (setns(2))."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from testbed.netlink.wire import NetlinkError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_LIBC: Final = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12


class OpenFile(Protocol):
    """Anything that has a file descriptor, as an open file or a socket has."""

    def fileno(self) -> int:
        """Return the descriptor."""


Namespace = int | OpenFile
"""A network namespace: the PID of a process in it, or an open file of it, such as open("/run/netns/blue")."""


@contextmanager
def in_namespace(namespace: Namespace) -> Iterator[None]:
    """Run the body of a with statement with the calling thread in another network namespace.

    A socket stays in the namespace where it was opened. The body must not await: a coroutine that runs
    meanwhile on the same thread would be in the wrong namespace.

    Raises:
        NetlinkError: no such process, or no right to enter (CAP_SYS_ADMIN).
    """
    name = f"process {namespace}" if isinstance(namespace, int) else f"descriptor {namespace.fileno()}"
    path = f"/proc/{namespace}/ns/net" if isinstance(namespace, int) else f"/proc/self/fd/{namespace.fileno()}"
    with _opened("/proc/thread-self/ns/net", "the calling thread") as own, _opened(path, name) as target:
        _setns(target, name)
        try:
            yield
        finally:
            _setns(own, "the calling thread")


def write_sysctl(name: str, value: int | str) -> None:
    """Set a kernel parameter of the calling thread's namespace.

    Args:
        name: the path under /proc/sys, such as net/ipv6/conf/eth0/forwarding; see ip-sysctl in the kernel's
            documentation. Slashes, as a name of an interface may hold a dot.
        value: what to write.

    Raises:
        NetlinkError: no such parameter, or the kernel refuses the value.
    """
    try:
        (Path("/proc/sys") / name).write_text(str(value))
    except OSError as error:
        raise _failure(f"set {name} to {value}", error) from error


@contextmanager
def _opened(path: str, name: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _failure(f"open the network namespace of {name}", error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _setns(descriptor: int, name: str) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise _failure(f"enter the network namespace of {name}", OSError(errno, os.strerror(errno)))


def _failure(operation: str, error: OSError) -> NetlinkError:
    return NetlinkError(f"{operation}: {error.strerror}", error.errno or 0)
