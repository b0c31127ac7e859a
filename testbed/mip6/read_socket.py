"""Sockets that the event loop reads, and what they let through."""

from __future__ import annotations

import abc
import asyncio
import ctypes
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
Instruction = tuple[int, int, int, int]


class ReadSocket(abc.ABC):
    """Owns a socket, and has ``_readable`` called in the event loop whenever there is something to read.

    Args:
        opened: set up already: what comes before is not missed.
    """

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(opened, self._readable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop hearing and give the socket back; a second time does nothing."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    @abc.abstractmethod
    def _readable(self) -> None:
        """Read what is there."""


def attach_filter(target: socket.socket, program: Sequence[Instruction]) -> None:
    """Let a socket hear only the packets that a classic BPF program accepts (linux/filter.h, struct sock_fprog).

    An instruction is its code, the offsets of the jump if true and if false, and its operand.
    """
    octets = b"".join(struct.pack("@HBBI", *instruction) for instruction in program)
    code = ctypes.create_string_buffer(octets)
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
