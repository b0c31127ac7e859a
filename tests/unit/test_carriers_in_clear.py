"""The carriers without IPsec; fakes only of sockets and of the kernel's tunnels."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace
from ipaddress import IPv6Address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import AGENT, CARE_OF, HOME, MOVED, OTHER_HOME, FakeSocket
from hypothesis import given
from hypothesis import strategies as st
from samples import until

from testbed.mip6 import home_clear, home_route, limit, mobile_clear, packets, wire
from testbed.mip6.carrier import NO_PROOF, Home, Received
from testbed.mip6.discovery import HomeAgent
from testbed.mip6.home_clear import HomeClear
from testbed.mip6.mobile_clear import MobileClear
from testbed.mip6.retransmission import SendUpdate
from testbed.mip6.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

FLAGS = wire.BindingFlags.A | wire.BindingFlags.H
UPDATE = wire.BindingUpdate(7, FLAGS, 150, (wire.AlternateCareOfAddress(CARE_OF),))
ANSWER = wire.BindingAcknowledgement(0, wire.AckFlags(0), 7, 150)
UDP = 17


class FakePackets(FakeSocket):
    """Whole packets: ``sent`` went out, ``hear`` has one come in."""

    opened: list[FakePackets]

    def __init__(self, heard: Callable[[wire.IPv6Packet], None], address: IPv6Address | None = None) -> None:
        self.address = address
        self.sent: list[tuple[wire.Message, IPv6Address, IPv6Address, dict[str, Any]]] = []
        self.broken = False
        self._heard = heard
        type(self).opened.append(self)

    def send(self, message: wire.Message, source: IPv6Address, destination: IPv6Address, **addresses: Any) -> None:
        if self.broken:
            raise OSError(101, "Network is unreachable")
        given_ones = {name: value for name, value in addresses.items() if value is not None}
        self.sent.append((message, source, destination, given_ones))

    def hear(self, packet: bytes) -> None:
        self._heard(wire.walk(packet))


class FakePath:
    """Tunnels that only tell what was asked for."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def admit(self, home: IPv6Address, care_of: IPv6Address) -> None:
        self.log.append(f"admit {home} at {care_of}")

    async def retarget(self, home: IPv6Address, old: IPv6Address, new: IPv6Address) -> None:
        self.log.append(f"retarget {home} from {old} to {new}")

    async def expel(self, home: IPv6Address, care_of: IPv6Address) -> None:
        self.log.append(f"expel {home} at {care_of}")

    async def open(self, home: IPv6Address, agent: IPv6Address, care_of: IPv6Address) -> None:
        self.log.append(f"open {home} from {care_of} to {agent}")

    def aim(self, agent: IPv6Address, care_of: IPv6Address) -> None:
        self.log.append(f"aim from {care_of} to {agent}")

    async def close(self) -> None:
        self.log.append("close")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    FakePackets.opened = []
    monkeypatch.setattr(home_clear, "PacketSignalling", FakePackets)
    monkeypatch.setattr(mobile_clear, "PacketSignalling", FakePackets)


class AtHomeAgent:
    def __init__(self) -> None:
        self.path = FakePath()
        self.heard: list[Received] = []
        owners = home_clear.Unprotected({HOME: "mn1@corp.example"})
        self.carrier = HomeClear(AGENT, owners, self.path)  # type: ignore[arg-type]

    @property
    def packets(self) -> FakePackets:
        return FakePackets.opened[0]


def at_home_agent(scene: Callable[[AtHomeAgent], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        world = AtHomeAgent()
        serving = asyncio.create_task(world.carrier.run(world.heard.append, lambda _: None))
        await until(lambda: FakePackets.opened)
        await scene(world)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert not world.packets.is_open

    asyncio.run(play())


def packet(next_header: int = wire.MOBILITY, payload: bytes | None = None, **addresses: Any) -> bytes:
    octets = wire.encode(UPDATE, HOME, AGENT) if payload is None else payload
    return wire.build(CARE_OF, AGENT, next_header, octets, **addresses)


def test_what_the_home_agent_hears() -> None:
    async def scene(world: AtHomeAgent) -> None:
        assert world.packets.address == AGENT
        octets = wire.encode(UPDATE, HOME, AGENT)
        world.packets.hear(packet(home_address_option=HOME))
        world.packets.hear(packet())
        world.packets.hear(packet(type2_home_address=HOME))  # there is no mobile node here
        assert world.heard == [
            Received(octets, HOME, CARE_OF, CARE_OF, home_address_option=True),
            Received(octets, CARE_OF, CARE_OF, CARE_OF, home_address_option=False),
        ]
        assert world.packets.sent == []

    at_home_agent(scene)


@pytest.mark.parametrize(("next_header", "errors"), [(UDP, 1), (59, 1), (58, 1), (50, 0), (51, 0)])
def test_a_home_address_option_without_a_binding(next_header: int, errors: int) -> None:
    async def scene(world: AtHomeAgent) -> None:
        world.packets.hear(packet(next_header, b"12345678", home_address_option=HOME))
        error = wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, HOME)
        assert world.packets.sent == [(error, AGENT, CARE_OF, {})] * errors

    at_home_agent(scene)


def test_a_home_address_option_with_its_binding_and_with_that_of_another_care_of_address() -> None:
    async def scene(world: AtHomeAgent) -> None:
        await world.carrier.admit(HOME, CARE_OF)
        world.packets.hear(packet(UDP, b"12345678", home_address_option=HOME))
        assert world.packets.sent == []
        await world.carrier.retarget(HOME, MOVED)
        world.packets.hear(packet(UDP, b"12345678", home_address_option=HOME))
        assert len(world.packets.sent) == 1

    at_home_agent(scene)


def test_packets_that_are_nobodys_business() -> None:
    async def scene(world: AtHomeAgent) -> None:
        world.packets.hear(packet(UDP, b"12345678"))
        world.packets.hear(wire.build(IPv6Address("ff02::1"), AGENT, UDP, bytes(8), home_address_option=HOME))
        world.packets.hear(wire.build(IPv6Address("::"), AGENT, UDP, bytes(8), home_address_option=HOME))
        assert world.packets.sent == []
        assert world.heard == []

    at_home_agent(scene)


def test_binding_errors_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(limit, "time", SimpleNamespace(monotonic=lambda: now))

    async def scene(world: AtHomeAgent) -> None:
        nonlocal now
        for _ in range(25):
            world.packets.hear(packet(UDP, b"12345678", home_address_option=HOME))
        assert len(world.packets.sent) == 10
        now = 0.5
        for _ in range(25):
            world.packets.hear(packet(UDP, b"12345678", home_address_option=HOME))
        assert len(world.packets.sent) == 15

    at_home_agent(scene)


def test_an_error_that_cannot_be_sent_is_no_error() -> None:
    async def scene(world: AtHomeAgent) -> None:
        world.packets.broken = True
        world.packets.hear(packet(UDP, b"12345678", home_address_option=HOME))

    at_home_agent(scene)


def test_answers_of_the_home_agent() -> None:
    async def scene(world: AtHomeAgent) -> None:
        world.carrier.send(ANSWER, HOME, CARE_OF, type2=True)
        world.carrier.send(ANSWER, HOME, HOME, type2=False)
        assert world.packets.sent == [
            (ANSWER, AGENT, CARE_OF, {"type2_home_address": HOME}),
            (ANSWER, AGENT, HOME, {}),
        ]

    at_home_agent(scene)


def test_the_home_agents_tunnels() -> None:
    async def scene(world: AtHomeAgent) -> None:
        await world.carrier.admit(HOME, CARE_OF)
        await world.carrier.retarget(HOME, MOVED)
        await world.carrier.expel(HOME)
        assert world.path.log == [
            f"admit {HOME} at {CARE_OF}",
            f"retarget {HOME} from {CARE_OF} to {MOVED}",
            f"expel {HOME} at {MOVED}",
        ]

    at_home_agent(scene)


def test_whoever_names_an_owners_home_address_is_taken_for_him() -> None:
    carrier = AtHomeAgent().carrier
    message = Received(b"", HOME, CARE_OF, CARE_OF, home_address_option=True)
    proof = carrier.proof(message, UPDATE, CARE_OF)
    assert proof
    assert (proof.identity, proof.authorization, proof.timely) == ("mn1@corp.example", 0, False)
    other = Received(b"", OTHER_HOME, CARE_OF, CARE_OF, home_address_option=True)
    assert carrier.proof(other, UPDATE, CARE_OF) is NO_PROOF
    asyncio.run(carrier.learn(other, UPDATE, CARE_OF))
    assert carrier.last_word(other) is NO_PROOF
    assert carrier.status() == {str(HOME): "mn1@corp.example"}
    with pytest.raises(AssertionError):
        carrier.send(ANSWER, HOME, CARE_OF, type2=True)


class AtMobileNode:
    def __init__(self) -> None:
        self.path = FakePath()
        self.heard: list[tuple[bytes, IPv6Address]] = []
        self.told: list[dict[str, Any]] = []
        self.steps = Steps(self.told.append)
        self.home = Home(HomeAgent("ha1.carrier.example", AGENT), HOME)
        seal = mobile_clear.Unprotected()
        self.carrier = MobileClear("eth0", HOME, seal, self.path)  # type: ignore[arg-type]

    def open(self) -> FakePackets:
        self.carrier.open(HOME, AGENT, lambda octets, source: self.heard.append((octets, source)))
        return FakePackets.opened[-1]


def action(care_of: IPv6Address = CARE_OF) -> SendUpdate:
    return SendUpdate(7, FLAGS, 150, HOME, care_of, AGENT)


def test_a_mobile_node_finds_its_way_and_follows() -> None:
    world = AtMobileNode()

    async def scene() -> None:
        agents = [world.home.agent, HomeAgent("ha2.carrier.example", OTHER_HOME)]
        assert await world.carrier.reach(agents, CARE_OF, world.steps) == world.home
        await world.carrier.before_moving()
        await world.carrier.follow(world.home, MOVED, world.steps)
        await world.carrier.leave()

    asyncio.run(scene())
    assert world.path.log == [f"open {HOME} from {CARE_OF} to {AGENT}", f"aim from {MOVED} to {AGENT}", "close"]
    assert [(step["step"], step["text"]) for step in world.told] == [
        ("home address", f"{HOME} by configuration"),
        ("tunnel", f"IPv6 in IPv6 from {CARE_OF} to {AGENT}"),
        ("tunnel", f"tunnel from {MOVED} to {AGENT}"),
    ]


def test_home_agents_that_do_not_accept_are_tried_last() -> None:
    """RFC 5026 section 5.1.2: the next one, and once all have failed from the beginning."""
    world = AtMobileNode()
    agents = [HomeAgent("ha1.carrier.example", AGENT), HomeAgent("ha2.carrier.example", OTHER_HOME)]

    async def reached() -> IPv6Address:
        return (await world.carrier.reach(agents, CARE_OF, world.steps)).agent.address

    async def scene() -> list[IPv6Address]:
        tried = [await reached() for _ in range(4)]
        world.carrier.authentic(replace(ANSWER, status=129), b"")
        tried.append(await reached())
        world.carrier.authentic(ANSWER, b"")
        return [*tried, await reached()]

    assert asyncio.run(scene()) == [AGENT, OTHER_HOME, AGENT, OTHER_HOME, AGENT, AGENT]


def test_updates_from_away_and_from_home(monkeypatch: pytest.MonkeyPatch) -> None:
    world = AtMobileNode()
    came: list[tuple[IPv6Address, int, str, bool]] = []
    monkeypatch.setattr(home_route, "come_home", lambda *where, announce: came.append((*where, announce)))
    world.carrier.send(UPDATE, action())  # before there is a way: nothing
    sockets = world.open()
    world.carrier.send(UPDATE, action())
    asyncio.run(world.carrier.at_home(world.home, 64))
    world.carrier.send(UPDATE, action(HOME))
    assert sockets.sent == [
        (UPDATE, CARE_OF, AGENT, {"home_address_option": HOME}),
        (UPDATE, HOME, AGENT, {}),
    ]
    assert world.path.log == ["close"]
    assert came == [(HOME, 64, "eth0", False)]  # the home agent still defends it
    world.carrier.close()
    world.carrier.close()
    assert not sockets.is_open


def test_what_a_mobile_node_hears() -> None:
    world = AtMobileNode()
    sockets = world.open()
    octets = wire.encode(ANSWER, AGENT, HOME)
    sockets.hear(wire.build(AGENT, CARE_OF, wire.MOBILITY, octets, type2_home_address=HOME))
    sockets.hear(wire.build(AGENT, HOME, wire.MOBILITY, octets))
    sockets.hear(wire.build(AGENT, CARE_OF, wire.MOBILITY, octets, type2_home_address=OTHER_HOME))
    sockets.hear(wire.build(MOVED, CARE_OF, wire.MOBILITY, octets, type2_home_address=HOME))
    sockets.hear(wire.build(AGENT, CARE_OF, UDP, bytes(8), type2_home_address=HOME))
    assert world.heard == [(octets, AGENT)] * 2
    assert world.carrier.authentic(ANSWER, octets)
    assert world.open() is not sockets
    assert not sockets.is_open


def run_filter(program: list[tuple[int, int, int, int]], packet: bytes, kind: int = 0, protocol: int = 0x86DD) -> int:
    """Run a program of the classic BPF as Linux does (linux/filter.h)."""
    at = accumulator = 0
    while True:
        code, jump, other, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x15:
            at += jump if accumulator == operand else other
        elif operand in (0xFFFFF000, 0xFFFFF004):
            accumulator = protocol if operand == 0xFFFFF000 else kind
        else:
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            if operand + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[operand : operand + size], "big")


@given(
    destination=st.sampled_from([AGENT, HOME, IPv6Address(int(AGENT) ^ 1 << 96)]),
    next_header=st.integers(0, 255),
    kind=st.integers(0, 6),
    protocol=st.sampled_from([0x86DD, 0x0800]),
    only=st.booleans(),
)
def test_the_filter_lets_through_what_may_hold_a_mobility_header(
    destination: IPv6Address, next_header: int, kind: int, protocol: int, only: bool
) -> None:
    octets = struct.pack("!IHBB16s16s", 6 << 28, 0, next_header, 64, CARE_OF.packed, destination.packed)
    program = packets._program(AGENT if only else None)
    wanted = next_header in (0, 43, 60, wire.MOBILITY) and kind == socket.PACKET_HOST and protocol == 0x86DD
    wanted = wanted and (destination == AGENT or not only)
    assert bool(run_filter(program, octets, kind, protocol)) == wanted


@pytest.mark.parametrize(
    ("change", "true"),
    [
        (lambda octets: octets, True),
        (lambda octets: octets + b"behind", True),
        (lambda octets: octets[:4] + b"\0\0" + octets[6:], False),
        (lambda octets: octets[:24], False),
        (lambda octets: octets[:3], False),
        (lambda _: b"", False),
    ],
)
def test_checksums(change: Callable[[bytes], bytes], true: bool) -> None:
    octets = change(wire.encode(UPDATE, HOME, AGENT))
    walked = wire.walk(wire.build(CARE_OF, AGENT, wire.MOBILITY, octets, home_address_option=HOME))
    assert packets._intact(walked) is true
