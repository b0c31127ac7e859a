"""Sending and hearing Mobility Headers on one address of this node (RFC 6275 section 6.1)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv6Address

from testbed.mip6 import wire
from testbed.mip6.read_socket import ReadSocket

_LARGEST = 2048  # octets: 255 * 8 + 8 of header, RFC 6275 section 6.1.1
_BURST = 64
Heard = Callable[[bytes, IPv6Address], None]


class Signalling(ReadSocket):
    """A raw socket for Mobility Headers, bound to an address; the kernel computes and verifies checksums.

    Args:
        address: ours: where messages come to and go from.
        heard: called in the event loop with each message's octets and its source.
    """

    def __init__(self, address: IPv6Address, heard: Heard) -> None:
        self.address = address
        self._heard = heard
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.MOBILITY)
        opened.bind((str(address), 0))
        super().__init__(opened)

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
