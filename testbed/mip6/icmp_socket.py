"""Sending and hearing the ICMPv6 messages of Mobile IPv6 (RFC 6275 sections 6.5 to 6.8)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from testbed.errors import WireError
from testbed.mip6 import wire
from testbed.mip6.journal import note
from testbed.mip6.read_socket import ReadSocket

if TYPE_CHECKING:
    from collections.abc import Iterable

_ICMP6_FILTER = 1  # linux/icmpv6.h; a bit that is set blocks its type
_JOIN_ANYCAST = 27  # linux/in6.h: IPV6_JOIN_ANYCAST
_LARGEST = 65535
_BURST = 64
Heard = Callable[[wire.IcmpMessage, IPv6Address, IPv6Address], None]


class IcmpSocket(ReadSocket):
    """A raw socket for some ICMPv6 types; the kernel computes and verifies checksums.

    Args:
        types: what is heard.
        heard: called in the event loop with each message, its source and its destination.
    """

    def __init__(self, types: Iterable[wire.IcmpType], heard: Heard) -> None:
        self._heard = heard
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.ICMPV6)
        accept = [0xFFFFFFFF] * 8
        for kind in types:
            accept[kind // 32] &= ~(1 << kind % 32)
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("@8I", *accept))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        super().__init__(opened)

    def join_anycast(self, address: IPv6Address, interface: str) -> None:
        """Have the kernel take packets to an anycast address until the socket is closed (RFC 2526)."""
        request = struct.pack("@16si", address.packed, socket.if_nametoindex(interface))
        self._socket.setsockopt(socket.IPPROTO_IPV6, _JOIN_ANYCAST, request)

    def send(self, message: wire.IcmpMessage, source: IPv6Address, destination: IPv6Address) -> None:
        """Send a message.

        Raises:
            OSError: the kernel has no way to send it, or ``source`` is no address of ours.
        """
        octets = wire.encode_icmp(message, source, destination)
        pktinfo = struct.pack("@16sI", source.packed, 0)
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, pktinfo)]
        self._socket.sendmsg([octets], ancillary, 0, (str(destination), 0))

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                octets, ancillary, _flags, (text, *_rest) = self._socket.recvmsg(_LARGEST, 64)
            except OSError:
                return
            source = IPv6Address(text.partition("%")[0])
            facts = {kind: data for level, kind, data in ancillary if level == socket.IPPROTO_IPV6}
            destination = IPv6Address(facts[socket.IPV6_PKTINFO][:16])
            try:
                # RFC 6275 sections 6.5 to 6.8: the code is ignored, what is cut off is discarded
                message = wire.decode_icmp(octets, source, destination, verify=False)
            except WireError as error:
                note("malformed", source=source, reason=str(error))
                continue
            self._heard(message, source, destination)
