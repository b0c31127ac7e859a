"""A socket that the event loop reads."""

from __future__ import annotations

import asyncio
import socket

from samples import until

from testbed.mip6.read_socket import ReadSocket


class Reader(ReadSocket):
    """Keeps what comes."""

    def __init__(self, opened: socket.socket) -> None:
        self.heard: list[bytes] = []
        super().__init__(opened)

    def _readable(self) -> None:
        self.heard.append(self._socket.recv(64))


def test_it_hears_until_it_is_closed_and_may_be_closed_twice() -> None:
    async def scene() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs, Reader(ours) as reader:
            theirs.send(b"one")
            await until(lambda: reader.heard)
            assert reader.heard == [b"one"]
            reader.close()
            assert ours.fileno() == -1
            reader.close()

    asyncio.run(scene())
