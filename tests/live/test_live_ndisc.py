from __future__ import annotations

import asyncio
import os
import random
import socket
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

import pytest
from veth import Link, Namespace, link, until

from testbed.errors import LabError, NotReadyError, UnsupportedError
from testbed.mip6 import ndisc
from testbed.mip6.ndlink import HeardRouter, HomeLink, RouterSolicitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and raw sockets need root"),
]

AGENT = IPv6Address("2001:db8:a::1")
PEER = IPv6Address("2001:db8:a::2")
HOME = IPv6Address("2001:db8:a::77")
SHORT = 0.2  # seconds
RADVD = """
interface eth0 {
  AdvSendAdvert on; MinRtrAdvInterval 0.1; MaxRtrAdvInterval 0.2; AdvIntervalOpt on;
  AdvManagedFlag on; AdvOtherConfigFlag on; AdvLinkMTU 1400; AdvDefaultLifetime 90;
  AdvHomeAgentFlag on; AdvHomeAgentInfo on; HomeAgentPreference 7; HomeAgentLifetime 600;
  prefix 2001:db8:a::2/64 { AdvRouterAddr on; AdvValidLifetime 800; AdvPreferredLifetime 400; };
  RDNSS 2001:db8:a::53 { AdvRDNSSLifetime 60; };
  DNSSL home.example { AdvDNSSLLifetime 60; };
};
"""


@pytest.fixture
def wire() -> Iterator[Link]:
    with link() as made:
        made.here.command("ip", "addr", "add", f"{AGENT}/64", "dev", "eth0", "nodad")
        made.there.command("ip", "addr", "add", f"{PEER}/64", "dev", "eth0", "nodad")
        yield made


class Tap:
    """Raw frames at one end of the wire."""

    def __init__(self, end: Namespace) -> None:
        with end.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
            self.socket.bind((end.interface, 0x86DD))
        self.socket.setblocking(False)

    async def message(self, kind: type[ndisc.Message]) -> tuple[bytes, IPv6Address, IPv6Address, ndisc.Message]:
        """Give the next message of a kind: Ethernet destination, source, destination, message."""
        while True:
            frame = await asyncio.get_running_loop().sock_recv(self.socket, 2048)
            if frame[20] == ndisc.ICMPV6 and 133 <= frame[54] <= 136:
                source, destination, message = ndisc.decode_packet(frame[14:])
                if isinstance(message, kind):
                    return frame[:6], source, destination, message

    def send(self, packet: bytes, group: IPv6Address, mac: bytes) -> None:
        self.socket.send(ndisc.multicast_mac(group) + mac + b"\x86\xdd" + packet)

    def probe(self, target: IPv6Address, mac: bytes) -> None:
        group = ndisc.solicited_node(target)
        packet = ndisc.encode_packet(ndisc.NeighborSolicitation(target), ndisc.UNSPECIFIED, group)
        self.send(packet, group, mac)


def test_hears_radvd_solicited_and_unsolicited(wire: Link, tmp_path: Path) -> None:
    wire.there.sysctl("conf/all/forwarding", 1)
    configuration = tmp_path / "radvd.conf"
    configuration.write_text(RADVD, "ascii")
    heard: list[HeardRouter] = []

    async def main() -> HeardRouter:
        third = asyncio.Event()

        def note(router: HeardRouter) -> None:
            heard.append(router)
            if len(heard) == 3:
                third.set()

        with RouterSolicitor("eth0", note) as solicitor:
            first = await solicitor.solicit(attempts=50, interval=SHORT)
            await third.wait()
        return first

    arguments = ["radvd", "-n", "-m", "stderr", "-C", str(configuration), "-p", str(tmp_path / "pid")]
    with wire.there.daemon(*arguments, log=tmp_path / "log", environment={}):
        first = wire.here.run(main)
    router = IPv6Address("fe80::ff:fe00:2")
    assert {h.router for h in heard} == {first.router} == {router}
    assert first.advertisement == ndisc.RouterAdvertisement(
        hop_limit=64,
        managed=True,
        other=True,
        home_agent=True,
        lifetime=90,
        source_mac=wire.there.mac,
        mtu=1400,
        prefixes=(ndisc.PrefixInformation(PEER, 64, 800, 400, router_address=True),),
        rdnss=(ndisc.RecursiveDns(60, (IPv6Address("2001:db8:a::53"),)),),
        dnssl=(ndisc.DnsSearch(60, ("home.example",)),),
        interval=200,
        home_agent_information=ndisc.HomeAgentInformation(7, 600),
    )
    assert first.advertisement.prefixes[0].network == IPv6Network("2001:db8:a::/64")


def test_solicits_three_times_and_gives_up(wire: Link) -> None:
    tap = Tap(wire.there)

    async def main() -> None:
        start = asyncio.get_running_loop().time()
        with RouterSolicitor("eth0") as solicitor, pytest.raises(NotReadyError, match="3 solicitations"):
            await solicitor.solicit(interval=0.05, last_wait=0.3)
        assert asyncio.get_running_loop().time() - start >= 0.05 * 2 + 0.3
        for _ in range(3):
            mac, source, destination, message = await tap.message(ndisc.RouterSolicitation)
            assert mac == bytes.fromhex("333300000002")
            assert (source, destination) == (IPv6Address("fe80::ff:fe00:1"), ndisc.ALL_ROUTERS)
            assert message == ndisc.RouterSolicitation(wire.here.mac)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tap.message(ndisc.RouterSolicitation), 0.05)

    with tap.socket:
        wire.here.run(main)


def test_a_router_that_ceases_does_not_end_the_solicitation(wire: Link) -> None:
    tap = Tap(wire.there)
    source = IPv6Address("fe80::ff:fe00:2")
    heard: list[HeardRouter] = []

    def advertise(lifetime: int, hop_limit: int = 255) -> None:
        advertisement = ndisc.RouterAdvertisement(lifetime=lifetime)
        packet = bytearray(ndisc.encode_packet(advertisement, source, ndisc.ALL_NODES))
        packet[7] = hop_limit
        tap.send(bytes(packet), ndisc.ALL_NODES, wire.there.mac)

    async def main() -> HeardRouter:
        with RouterSolicitor("eth0", heard.append) as solicitor:
            asking = asyncio.create_task(solicitor.solicit(interval=5))
            await tap.message(ndisc.RouterSolicitation)
            advertise(1800, hop_limit=254)
            advertise(0)
            advertise(1801)
            return await asking

    with tap.socket:
        assert wire.here.run(main).advertisement.lifetime == 1801
    assert [h.advertisement.lifetime for h in heard] == [0, 1801]


def test_detects_what_the_kernel_of_a_neighbour_owns(wire: Link) -> None:
    wire.there.command("ip", "addr", "add", f"{HOME}/64", "dev", "eth0", "nodad")
    free = HOME + 1
    tap = Tap(wire.there)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with HomeLink("eth0", AGENT) as home:
            start = loop.time()
            assert await home.duplicate_address_detection(HOME, 10) is True
            assert loop.time() - start < 5
            start = loop.time()
            assert await home.duplicate_address_detection(free, SHORT) is False
            assert SHORT * 0.9 <= loop.time() - start < SHORT + 1
            assert await home.duplicate_address_detection(AGENT, 10) is True
        for target in (HOME, free):
            mac, source, destination, message = await tap.message(ndisc.NeighborSolicitation)
            assert (mac, source) == (b"\x33\x33\xff" + target.packed[-3:], ndisc.UNSPECIFIED)
            assert destination == ndisc.solicited_node(target)
            assert message == ndisc.NeighborSolicitation(target)

    with tap.socket:
        wire.here.run(main)


def test_a_competing_probe_is_a_duplicate_but_our_own_looped_one_is_not(wire: Link) -> None:
    tap = Tap(wire.there)

    async def probed(home: HomeLink, mac: bytes) -> bool:
        asking = asyncio.create_task(home.duplicate_address_detection(HOME, SHORT))
        await tap.message(ndisc.NeighborSolicitation)
        tap.probe(HOME, mac)
        return await asking

    async def main() -> None:
        with HomeLink("eth0", AGENT) as home:
            assert await probed(home, wire.here.mac) is False
            assert await probed(home, wire.there.mac) is True
            first, second = await asyncio.gather(
                home.duplicate_address_detection(HOME, SHORT), home.duplicate_address_detection(HOME, SHORT)
            )
            assert (first, second) == (False, True)

    with tap.socket:
        wire.here.run(main)


def test_defends_with_the_right_flags(wire: Link) -> None:
    tap = Tap(wire.there)
    unsolicited = ndisc.NeighborAdvertisement(HOME, override=True, target_mac=wire.here.mac)
    everybody = (ndisc.multicast_mac(ndisc.ALL_NODES), AGENT, ndisc.ALL_NODES)

    async def main() -> None:
        with HomeLink("eth0", AGENT) as home:
            home.defend(HOME, SHORT)
            home.defend(HOME, SHORT)
            for _ in range(3):
                assert await tap.message(ndisc.NeighborAdvertisement) == (*everybody, unsolicited)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tap.message(ndisc.NeighborAdvertisement), SHORT * 2)
            assert "allmulti 1" in wire.here.command("ip", "-d", "link", "show", "dev", "eth0")
            assert await home.duplicate_address_detection(HOME, 10) is True
            tap.probe(HOME, wire.there.mac)
            assert await tap.message(ndisc.NeighborAdvertisement) == (*everybody, unsolicited)
            group, asker = ndisc.solicited_node(HOME), bytes.fromhex("0200000000aa")
            question = ndisc.NeighborSolicitation(HOME, asker)
            tap.send(ndisc.encode_packet(question, PEER, group), group, wire.there.mac)
            answer = ndisc.NeighborAdvertisement(HOME, False, True, True, wire.here.mac)
            assert await tap.message(ndisc.NeighborAdvertisement) == (asker, AGENT, PEER, answer)
            home.release(HOME)
            home.release(HOME)
            tap.probe(HOME, wire.there.mac)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tap.message(ndisc.NeighborAdvertisement), SHORT * 3)

    with tap.socket:
        wire.here.run(main)


def test_the_kernel_of_a_neighbour_resolves_a_defended_address_to_us(wire: Link) -> None:
    peer = wire.there

    def neighbour() -> str:
        return peer.command("ip", "-6", "neigh", "show", str(HOME), "dev", "eth0")

    def state() -> str:
        return peer.command("ip", "-6", "addr", "show", "dev", "eth0", "to", str(HOME))

    async def main() -> None:
        with HomeLink("eth0", AGENT) as home:
            home.defend(HOME)
            with peer.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", (str(HOME), 9))
            resolved = await asyncio.to_thread(until, lambda: "lladdr" in (seen := neighbour()) and seen)
            assert wire.here.mac.hex(":") in str(resolved)
            assert "router" not in str(resolved)
            # The neighbour tries to take the address: its kernel gives it up while it is defended.
            peer.sysctl("conf/eth0/accept_dad", 1)
            peer.command("ip", "addr", "add", f"{HOME}/64", "dev", "eth0")
            await asyncio.to_thread(until, lambda: "dadfailed" in state())
            home.release(HOME)
            peer.command("ip", "addr", "del", f"{HOME}/64", "dev", "eth0")
            peer.command("ip", "addr", "add", f"{HOME}/64", "dev", "eth0")
            await asyncio.to_thread(until, lambda: "tentative" not in state())
            assert "dadfailed" not in state()

    wire.here.run(main)


def test_leaves_the_kernels_own_address_to_the_kernel(wire: Link) -> None:
    tap = Tap(wire.there)

    async def main() -> None:
        with HomeLink("eth0", AGENT) as home:
            with pytest.raises(LabError, match="own address"):
                home.defend(AGENT)
            tap.probe(AGENT, wire.there.mac)
            await tap.message(ndisc.NeighborAdvertisement)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tap.message(ndisc.NeighborAdvertisement), SHORT)

    with tap.socket:
        wire.here.run(main)


def test_thousands_of_addresses_and_noise(wire: Link) -> None:
    tap = Tap(wire.there)
    rng = random.Random(4640)  # noqa: S311 - noise that can be repeated
    last = HOME + 4999

    async def main() -> float:
        loop = asyncio.get_running_loop()
        with HomeLink("eth0", AGENT) as home:
            start = loop.time()
            for n in range(5000):
                home.defend(HOME + n, 3600)
            spent = loop.time() - start
            group = ndisc.solicited_node(last)
            good = ndisc.encode_packet(ndisc.NeighborSolicitation(last), ndisc.UNSPECIFIED, group)
            for _ in range(500):
                noise = bytearray(good + bytes(8))[: rng.randrange(42, len(good) + 8)]
                for _ in range(rng.randrange(1, 4)):
                    noise[rng.randrange(41, len(noise))] ^= rng.randrange(1, 256)
                tap.send(bytes(noise), group, wire.there.mac)
            while True:  # what was advertised before is passed over
                tap.probe(last, wire.there.mac)
                *_, message = await tap.message(ndisc.NeighborAdvertisement)
                if isinstance(message, ndisc.NeighborAdvertisement) and message.target == last:
                    return spent

    with tap.socket:
        spent = wire.here.run(main)
    assert spent < 10, f"{spent:.3f} s for 5000 addresses"


def test_a_link_that_went_down_comes_back(wire: Link) -> None:
    tap = Tap(wire.there)

    async def main() -> None:
        with HomeLink("eth0", AGENT) as home:
            home.defend(HOME, 3600)
            await tap.message(ndisc.NeighborAdvertisement)
            wire.here.command("ip", "link", "set", "eth0", "down")
            with pytest.raises(OSError, match="down"):
                await home.duplicate_address_detection(HOME + 1, SHORT)
            wire.here.command("ip", "link", "set", "eth0", "up")
            answered = asyncio.create_task(tap.message(ndisc.NeighborAdvertisement))
            while not answered.done():
                tap.probe(HOME, wire.there.mac)
                await asyncio.wait((answered,), timeout=0.05)
            assert answered.result()[3] == ndisc.NeighborAdvertisement(HOME, override=True, target_mac=wire.here.mac)

    with tap.socket:
        wire.here.run(main)


def test_names_what_is_missing(wire: Link) -> None:
    async def main() -> None:
        with pytest.raises(UnsupportedError, match="no interface eth9"):
            RouterSolicitor("eth9")
        with pytest.raises(UnsupportedError, match="hardware type 772"):
            HomeLink("lo", AGENT)
        wire.here.command("ip", "-6", "addr", "flush", "dev", "eth0", "scope", "link")
        wire.here.sysctl("conf/eth0/accept_dad", 1)
        wire.here.command("ip", "addr", "add", "fe80::1/64", "dev", "eth0")
        with RouterSolicitor("eth0") as solicitor, pytest.raises(NotReadyError, match="link-local") as caught:
            await solicitor.solicit()
        assert set(caught.value.evidence) == {f"{AGENT} usable", "fe80::1 tentative or duplicate"}

    wire.here.run(main)
