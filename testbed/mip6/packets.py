"""Mobility Headers as whole IPv6 packets, read before a kernel without Mobile IPv6 judges them, and sent the same way.

Such a kernel answers a Home Address option or a type 2 routing header with a Parameter Problem. The guard drops both at
the ingress of the interfaces; a packet socket for all protocols sees them before that.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from testbed.errors import WireError
from testbed.mip6 import wire
from testbed.mip6.journal import note
from testbed.mip6.read_socket import ReadSocket, attach_filter

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv6Address

_ETH_P_ALL, _ETH_P_IPV6 = 0x0003, 0x86DD  # linux/if_ether.h
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23  # linux/if_packet.h
_IPV6_HDRINCL: Final = 36  # linux/in6.h
_LARGEST: Final = 4096  # octets: a Mobility Header of 2048 with the headers before it
_BURST = 64  # packets read in one go, so that a flood does not starve the event loop
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # linux/filter.h: SKF_AD_OFF + SKF_AD_PROTOCOL, SKF_AD_PKTTYPE
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD, _IF_EQUAL, _RETURN = 0x30, 0x28, 0x20, 0x15, 0x06  # linux/bpf_common.h
_UNIT = 8  # octets that Header Len counts in: RFC 6275 section 6.1.1
_NEXT_HEADER, _DESTINATION = 6, 24  # offsets in an IPv6 header: RFC 8200 section 3
_WANTED = (0, 43, 60, wire.MOBILITY)  # hop-by-hop, routing, destination options: what may precede a Mobility Header


class PacketSignalling(ReadSocket):
    """Hears packets to this node that may concern Mobile IPv6, whole; sends whole packets that the kernel routes.

    Args:
        heard: called in the event loop with each packet that is well-formed, whose Mobility Header, if it is one,
            has a true checksum.
        address: only packets to it are heard; None for all that come to this node.

    Raises:
        OSError: no right to open raw sockets.
    """

    def __init__(self, heard: Callable[[wire.IPv6Packet], None], address: IPv6Address | None = None) -> None:
        self._heard = heard
        reader = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        reader.setblocking(False)
        reader.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        attach_filter(reader, _program(address))
        with contextlib.suppress(BlockingIOError):  # what came before there was a filter
            while True:
                reader.recv(1)
        self._writer = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._writer.setblocking(False)
        self._writer.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        super().__init__(reader)

    def close(self) -> None:
        """Give the sockets back; a second time does nothing."""
        super().close()
        self._writer.close()

    def send(
        self,
        message: wire.Message,
        source: IPv6Address,
        destination: IPv6Address,
        *,
        home_address_option: IPv6Address | None = None,
        type2_home_address: IPv6Address | None = None,
    ) -> None:
        """Send a message, with a Home Address option or a type 2 routing header (RFC 6275 sections 6.3 and 6.4).

        Raises:
            OSError: the kernel has no way to send it.
        """
        octets = wire.encode(message, home_address_option or source, type2_home_address or destination)
        packet = wire.build(
            source,
            destination,
            wire.MOBILITY,
            octets,
            home_address_option=home_address_option,
            type2_home_address=type2_home_address,
        )
        self._writer.sendto(packet, (str(destination), 0))

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                octets = self._socket.recv(_LARGEST)
            except OSError:
                return
            with contextlib.suppress(WireError):  # nothing can be said about it
                packet = wire.walk(octets)
                if packet.next_header != wire.MOBILITY or _intact(packet):
                    self._heard(packet)


def _intact(packet: wire.IPv6Packet) -> bool:
    """Whether the checksum is true; for which the home addresses stand in: RFC 6275 section 6.1.1."""
    octets = packet.payload
    length = _UNIT * (octets[1] + 1) if len(octets) >= _UNIT else _UNIT
    true = length <= len(octets) and not wire.checksum(
        packet.upper_source, packet.upper_destination, wire.MOBILITY, octets[:length]
    )
    if not true:
        note("malformed", source=packet.source, reason="the checksum of the Mobility Header is wrong")
    return true


def _program(address: IPv6Address | None) -> list[tuple[int, int, int, int]]:
    """Make a filter for IPv6 packets to this node that may hold a Mobility Header (linux/filter.h)."""
    tests: list[tuple[int, int, tuple[int, ...]]] = [
        (_LOAD_WORD, _PACKET_TYPE, (socket.PACKET_HOST,)),
        (_LOAD_HALF, _PROTOCOL, (_ETH_P_IPV6,)),
    ]
    if address is not None:
        words = struct.unpack("!4I", address.packed)
        tests += [(_LOAD_WORD, _DESTINATION + 4 * at, (word,)) for at, word in enumerate(words)]
    tests.append((_LOAD_BYTE, _NEXT_HEADER, _WANTED))
    length = sum(1 + len(values) for _, _, values in tests)
    program: list[tuple[int, int, int, int]] = []
    for load, offset, values in tests:
        program.append((load, 0, 0, offset))
        for left in range(len(values) - 1, -1, -1):
            value = values[len(values) - 1 - left]
            # equal: over the other values; different: on to the next value, after the last one to the refusal
            program.append((_IF_EQUAL, left, 0 if left else length - len(program), value))
    return [*program, (_RETURN, 0, 0, _LARGEST), (_RETURN, 0, 0, 0)]
