"""Neighbor Discovery on a real link: a host asks for routers, a home agent proxies for its mobile nodes.

Both classes belong to the running event loop, need CAP_NET_RAW and are closed by ``with``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeVar

from testbed.errors import LabError, NotReadyError, UnsupportedError, WireError
from testbed.mip6 import ndisc
from testbed.mip6.interface import Interface
from testbed.mip6.read_socket import ReadSocket, attach_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

_ICMP6_FILTER = 1  # linux/icmpv6.h; a bit that is set blocks its type
_ETH_P_IPV6 = 0x86DD
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_ALLMULTI = 263, 1, 2  # linux/if_packet.h
_MESSAGE = 65535
_FRAME = 2048  # a longer solicitation or advertisement is cut off and then fails its checks
_BURST = 64  # frames read in one go, so that a flood does not starve the event loop

# Offsets count from the IPv6 header: next header 58, hop limit 255, type 135 or 136 (linux/bpf_common.h).
_NEIGHBOR_FILTER = (
    (0x30, 0, 0, 6),
    (0x15, 0, 6, ndisc.ICMPV6),
    (0x30, 0, 0, 7),
    (0x15, 0, 4, ndisc.HOP_LIMIT),
    (0x30, 0, 0, 40),
    (0x15, 1, 0, ndisc.NEIGHBOR_SOLICITATION),
    (0x15, 0, 1, ndisc.NEIGHBOR_ADVERTISEMENT),
    (0x06, 0, 0, _FRAME),
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class HeardRouter:
    """A valid Router Advertisement and the link-local address of the router that sent it."""

    router: IPv6Address
    advertisement: ndisc.RouterAdvertisement


class RouterSolicitor(ReadSocket):
    """Hears every valid Router Advertisement on one interface and solicits them.

    Args:
        interface: its name.
        on_advertisement: called in the event loop with each of them, solicited or not.
        loop: whether to solicit a router on this very node, too.

    Raises:
        UnsupportedError: no such Ethernet interface, or no right to open a raw socket.

    Source: RFC 4861 section 6.3.
    """

    def __init__(
        self,
        interface: str,
        on_advertisement: Callable[[HeardRouter], None] | None = None,
        *,
        loop: bool = False,
    ) -> None:
        self._interface = Interface.named(interface)
        self._on_advertisement = on_advertisement
        self._waiting: set[asyncio.Future[HeardRouter]] = set()
        self._passed_over: deque[str] = deque(maxlen=5)
        opened = _open(socket.AF_INET6, socket.SOCK_RAW, ndisc.ICMPV6, interface)
        accept = [0xFFFFFFFF] * 8
        accept[ndisc.ROUTER_ADVERTISEMENT // 32] ^= 1 << ndisc.ROUTER_ADVERTISEMENT % 32
        opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("@8I", *accept))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        for option, value in (
            (socket.IPV6_RECVHOPLIMIT, 1),
            (socket.IPV6_RECVPKTINFO, 1),
            (socket.IPV6_MULTICAST_HOPS, ndisc.HOP_LIMIT),
            (socket.IPV6_MULTICAST_LOOP, int(loop)),
        ):
            opened.setsockopt(socket.IPPROTO_IPV6, option, value)
        super().__init__(opened)

    async def solicit(
        self,
        *,
        attempts: int = ndisc.MAX_RTR_SOLICITATIONS,
        interval: float = ndisc.RTR_SOLICITATION_INTERVAL,
        last_wait: float = ndisc.MAX_RTR_SOLICITATION_DELAY,
    ) -> HeardRouter:
        """Solicit until the first valid advertisement with a router lifetime above 0, and give that one.

        The random delay before the first solicitation is the caller's. ``interval`` seconds lie between two
        solicitations, ``last_wait`` seconds follow the last.

        Raises:
            NotReadyError: no such advertisement came, or the interface has no usable link-local address.
            OSError: the kernel could not send, the interface is down for example.

        Source: RFC 4861 section 6.3.7.
        """
        heard: asyncio.Future[HeardRouter] = self._loop.create_future()
        self._waiting.add(heard)
        try:
            for attempt in range(1, attempts + 1):
                self._send()
                await asyncio.wait((heard,), timeout=interval if attempt < attempts else last_wait)
                if heard.done():
                    return heard.result()
        finally:
            self._waiting.discard(heard)
        raise NotReadyError(
            f"no router answered {attempts} solicitations",
            where=self._interface.name,
            evidence=tuple(self._passed_over),
        )

    def _send(self) -> None:
        source, index = self._interface.link_local(), self._interface.index
        message = ndisc.encode(ndisc.RouterSolicitation(self._interface.mac), source, ndisc.ALL_ROUTERS)
        pktinfo = struct.pack("@16sI", source.packed, index)
        ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, pktinfo)]
        self._socket.sendmsg([message], ancillary, 0, (str(ndisc.ALL_ROUTERS), 0, 0, index))

    def _readable(self) -> None:
        for octets, ancillary, _, (source, *_) in _drain(lambda: self._socket.recvmsg(_MESSAGE, 128)):
            try:
                heard = self._decode(octets, ancillary, IPv6Address(source.partition("%")[0]))
            except WireError as error:
                self._passed_over.append(f"from {source}: {error}")
                continue
            if heard.advertisement.lifetime > 0:
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_result(heard)
            else:
                self._passed_over.append(f"from {source}: router lifetime 0")
            if self._on_advertisement is not None:
                self._on_advertisement(heard)

    def _decode(self, octets: bytes, ancillary: list[tuple[int, int, bytes]], source: IPv6Address) -> HeardRouter:
        facts = {kind: data for level, kind, data in ancillary if level == socket.IPPROTO_IPV6}
        (hop_limit,) = struct.unpack("@i", facts[socket.IPV6_HOPLIMIT])
        destination, index = struct.unpack("@16sI", facts[socket.IPV6_PKTINFO])
        if index != self._interface.index:  # queued before the socket was bound to its interface
            raise WireError(f"it came by interface {index}")
        message = ndisc.decode(octets, source, IPv6Address(destination), hop_limit)
        if not isinstance(message, ndisc.RouterAdvertisement):
            raise WireError(f"it is a {type(message).__name__}")
        return HeardRouter(source, message)


class HomeLink(ReadSocket):
    """A home agent's hold on its home link: it probes addresses and defends those of absent mobile nodes.

    It hears all multicast on the interface but joins no group: on a switch that snoops MLD and has a querier,
    solicitations would not reach it.

    Args:
        interface: the name of the interface on the home link.
        address: the home agent's own address there, the source of what it advertises.

    Raises:
        UnsupportedError: no such Ethernet interface, or no right to open a packet socket.

    Source: RFC 6275 sections 10.3.1 and 10.4.1.
    """

    def __init__(self, interface: str, address: IPv6Address) -> None:
        self._interface = Interface.named(interface)
        self._address = address
        self._probes: dict[IPv6Address, asyncio.Future[None]] = {}
        self._defended: dict[IPv6Address, asyncio.TimerHandle | None] = {}
        opened = _open(socket.AF_PACKET, socket.SOCK_DGRAM, 0, interface)
        attach_filter(opened, _NEIGHBOR_FILTER)
        membership = struct.pack("@iHH8x", self._interface.index, _PACKET_MR_ALLMULTI, 0)
        opened.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        opened.bind((interface, _ETH_P_IPV6))
        super().__init__(opened)

    def close(self) -> None:
        """Release every address and give the socket back; a second time does nothing."""
        for address in tuple(self._defended):
            self.release(address)
        super().close()

    async def duplicate_address_detection(
        self, address: IPv6Address, retrans_timer: float = ndisc.RETRANS_TIMER
    ) -> bool:
        """Probe once and tell whether somebody else on the link has the address or claims it.

        An address of this interface, one that is defended and one that is being probed count as taken,
        without a probe on the wire. The wait is ``retrans_timer`` seconds, less if the answer is yes.

        Raises:
            OSError: the kernel could not send the probe, the interface is down for example.

        Source: RFC 4862 section 5.4.
        """
        taken = address in self._defended or address in self._probes
        if taken or address in self._interface.addresses():
            return True
        claimed: asyncio.Future[None] = self._loop.create_future()
        self._probes[address] = claimed
        try:
            probe = ndisc.NeighborSolicitation(address)
            self._multicast(probe, ndisc.UNSPECIFIED, ndisc.solicited_node(address))
            await asyncio.wait((claimed,), timeout=retrans_timer)
            return claimed.done()
        finally:
            del self._probes[address]

    def defend(self, address: IPv6Address, retrans_timer: float = ndisc.RETRANS_TIMER) -> None:
        """Draw the address to this node and answer for it until ``release``; a second time does nothing.

        Three unsolicited advertisements go out, ``retrans_timer`` seconds apart.

        Raises:
            LabError: the kernel has this address on the interface and answers for it itself.
            OSError: the kernel could not send the first advertisement; the address is not defended then.

        Source: RFC 6275 section 10.4.1, RFC 4861 section 7.2.6.
        """
        if address in self._defended:
            return
        if address in self._interface.addresses():
            raise LabError(f"{address} is this node's own address", where=self._interface.name)
        self._advertise(address)
        self._schedule(address, ndisc.MAX_NEIGHBOR_ADVERTISEMENT - 1, retrans_timer)

    def release(self, address: IPv6Address) -> None:
        """Answer no more for the address; one that is not defended is left alone."""
        timer = self._defended.pop(address, None)
        if timer is not None:
            timer.cancel()

    def _schedule(self, address: IPv6Address, left: int, retrans_timer: float) -> None:
        later = self._loop.call_later(retrans_timer, self._repeat, address, left, retrans_timer)
        self._defended[address] = later

    def _repeat(self, address: IPv6Address, left: int, retrans_timer: float) -> None:
        with contextlib.suppress(OSError):  # a repetition is for the case that one is lost
            self._advertise(address)
        if left > 1:
            self._schedule(address, left - 1, retrans_timer)
        else:
            self._defended[address] = None

    def _advertise(self, address: IPv6Address) -> None:
        message = ndisc.NeighborAdvertisement(address, override=True, target_mac=self._interface.mac)
        self._multicast(message, self._address, ndisc.ALL_NODES)

    def _multicast(self, message: ndisc.Message, source: IPv6Address, group: IPv6Address) -> None:
        self._send(message, source, group, ndisc.multicast_mac(group))

    def _send(self, message: ndisc.Message, source: IPv6Address, destination: IPv6Address, mac: bytes) -> None:
        packet = ndisc.encode_packet(message, source, destination)
        self._socket.sendto(packet, (self._interface.name, _ETH_P_IPV6, 0, 0, mac))

    def _readable(self) -> None:
        for frame, (_, _, _, _, mac) in _drain(lambda: self._socket.recvfrom(_FRAME)):
            if mac == self._interface.mac:  # our own frame, looped back
                continue
            with contextlib.suppress(WireError, OSError):  # a lost answer is asked for again
                source, _, message = ndisc.decode_packet(frame)
                self._take(message, source, mac)

    def _take(self, message: ndisc.Message, source: IPv6Address, mac: bytes) -> None:
        match message:
            case ndisc.NeighborAdvertisement(target=target):
                self._claim(target)
            case ndisc.NeighborSolicitation(target=target) if source == ndisc.UNSPECIFIED:
                self._claim(target)
                if target in self._defended:
                    self._advertise(target)
            case ndisc.NeighborSolicitation(target=target, source_mac=asker) if target in self._defended:
                own = self._interface.mac
                answer = ndisc.NeighborAdvertisement(target, solicited=True, override=True, target_mac=own)
                self._send(answer, self._address, source, asker or mac)

    def _claim(self, target: IPv6Address) -> None:
        claimed = self._probes.get(target)
        if claimed is not None and not claimed.done():
            claimed.set_result(None)


def _open(family: int, kind: int, protocol: int, interface: str) -> socket.socket:
    try:
        opened = socket.socket(family, kind, protocol)
    except PermissionError as error:
        hint = "it needs CAP_NET_RAW in the node's network namespace"
        raise UnsupportedError("no right to open a raw socket", where=interface, hint=hint) from error
    opened.setblocking(False)
    return opened


def _drain(receive: Callable[[], _T]) -> Iterator[_T]:
    """Give what is queued, up to a burst; a link that went down ends it too, and comes back by itself."""
    for _ in range(_BURST):
        try:
            received = receive()
        except OSError:
            return
        yield received
