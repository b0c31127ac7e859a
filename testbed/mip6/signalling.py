"""Sending and hearing Mobility Headers on one address of this node (RFC 6275 section 6.1)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Self

from testbed.mip6 import wire

_LARGEST = 2048  # octets: 255 * 8 + 8 of header, RFC 6275 section 6.1.1
_BURST = 64
Heard = Callable[[bytes, IPv6Address], None]


class Signalling:
    """A raw socket for Mobility Headers, bound to an address; the kernel computes and verifies checksums.

    Args:
        address: ours: where messages come to and go from.
        heard: called in the event loop with each message's octets and its source.
    """

    def __init__(self, address: IPv6Address, heard: Heard) -> None:
        self.address = address
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.MOBILITY)
        self._socket.setblocking(False)
        self._socket.bind((str(address), 0))
        self._loop.add_reader(self._socket, self._readable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back; a second time does nothing."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def send(self, message: wire.Message, destination: IPv6Address) -> None:
        """Send a message.

        Raises:
            OSError: the kernel has no way to send it.
        """
        octets = wire.encode(message, self.address, destination)
        self._socket.sendto(octets, (str(destination), 0))

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                octets, (source, *_rest) = self._socket.recvfrom(_LARGEST)
            except OSError:
                return
            self._heard(octets, IPv6Address(source.partition("%")[0]))
