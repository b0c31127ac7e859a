"""A home agent's instructions to mobile nodes: what is sent, what ends them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from samples import until, wait_for

from testbed.errors import LabError
from testbed.mip6 import directive, wire
from testbed.mip6.instructions import Instructions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HOME, OTHER = IPv6Address("2001:db8:a::1001"), IPv6Address("2001:db8:a::1002")
CARE_OF = IPv6Address("2001:db8:1::9")
AGENTS = (IPv6Address("2001:db8:a::2"), IPv6Address("2001:db8:a::3"))
ACKNOWLEDGEMENT = wire.RevocationKind.ACKNOWLEDGEMENT


class World:
    """Instructions with what they send and revoke."""

    def __init__(self) -> None:
        self.sent: list[tuple[wire.Message, IPv6Address]] = []
        self.revoked: list[IPv6Address] = []
        self.given = Instructions(self.send, self.revoked.append, 65535)
        self.given.reachable(HOME, CARE_OF, type2=True)

    def send(self, message: wire.Message, home_address: IPv6Address, destination: IPv6Address, *, type2: bool) -> None:
        assert (destination, type2) == (CARE_OF, True)
        self.sent.append((message, home_address))


def played(scene: Callable[[World], Coroutine[None, None, None]]) -> None:
    async def scenario() -> None:
        await scene(World())

    wait_for(scenario())


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timers."""
    fast = {order: replace(pacing, initial=0.01, maximum=0.02) for order, pacing in directive._PACING.items()}
    monkeypatch.setattr(directive, "_PACING", fast)


def test_a_switch_ends_with_the_binding() -> None:
    async def scene(world: World) -> None:
        outcome = world.given.switch(HOME, AGENTS)
        await until(lambda: world.sent)
        assert world.sent == [(wire.HomeAgentSwitch(AGENTS), HOME)]
        assert world.given.switching(HOME)
        assert not world.given.switching(OTHER)
        world.given.ended(HOME, "deleted")
        assert await outcome == "deleted"
        assert not world.given.switching(HOME)
        assert world.revoked == []

    played(scene)


@pytest.mark.usefixtures("_at_once")
def test_a_switch_is_repeated() -> None:
    async def scene(world: World) -> None:
        outcome = world.given.switch(HOME, ())
        await until(lambda: len(world.sent) >= 3)
        assert set(world.sent) == {(wire.HomeAgentSwitch(), HOME)}
        world.given.ended(HOME, "expired")
        number = len(world.sent)
        assert await outcome == "expired"
        await asyncio.sleep(0.05)
        assert len(world.sent) == number

    played(scene)


def test_a_mobile_node_that_knows_no_switch_is_served_but_not_for_longer_5142_5_3() -> None:
    async def scene(world: World) -> None:
        outcome = world.given.switch(HOME, AGENTS)
        await until(lambda: world.sent)
        world.given.not_understood(HOME)
        assert "does not know" in await outcome
        assert world.given.switching(HOME)
        assert world.revoked == []

    played(scene)


@pytest.mark.parametrize("status", [0, 1, 128, 133])
def test_a_revocation_ends_with_its_acknowledgement(status: int) -> None:
    async def scene(world: World) -> None:
        outcome = world.given.revoke(HOME)
        await until(lambda: world.sent)
        (indication, home) = world.sent[0]
        assert indication == wire.BindingRevocation(1, wire.RevocationTrigger.ADMINISTRATIVE_REASON, 0)
        assert home == HOME
        world.given.acknowledged(HOME, wire.BindingRevocation(ACKNOWLEDGEMENT, status, 1))  # of another
        world.given.acknowledged(OTHER, wire.BindingRevocation(ACKNOWLEDGEMENT, status, 0))
        world.given.acknowledged(HOME, wire.BindingRevocation(wire.RevocationKind.INDICATION, status, 0))
        assert world.revoked == []
        world.given.acknowledged(HOME, wire.BindingRevocation(ACKNOWLEDGEMENT, status, 0))
        assert await outcome == f"acknowledged with status {status}"
        assert world.revoked == [HOME]

    played(scene)


@pytest.mark.usefixtures("_at_once")
def test_a_revocation_that_nobody_acknowledges_ends_the_binding_all_the_same() -> None:
    async def scene(world: World) -> None:
        assert await world.given.revoke(HOME) == "not acknowledged"
        assert len(world.sent) == 2
        assert world.revoked == [HOME]

    played(scene)


def test_a_mobile_node_that_knows_no_revocation_loses_its_binding() -> None:
    async def scene(world: World) -> None:
        outcome = world.given.revoke(HOME)
        world.given.not_understood(HOME)
        assert "does not know" in await outcome
        assert world.revoked == [HOME]
        world.given.not_understood(HOME)  # nothing is under way any more
        assert world.revoked == [HOME]

    played(scene)


def test_the_last_instruction_counts() -> None:
    async def scene(world: World) -> None:
        first = world.given.switch(HOME, AGENTS)
        second = world.given.revoke(HOME)
        assert "another" in await first
        assert not world.given.switching(HOME)
        await until(lambda: world.sent)
        assert [type(message) for message, _ in world.sent] == [wire.BindingRevocation]
        world.given.ended(HOME, "gone")
        assert await second == "gone"

    played(scene)


def test_a_refresh_is_asked_for_once() -> None:
    async def scene(world: World) -> None:
        world.given.refresh(HOME)
        assert world.sent == [(wire.BindingRefreshRequest(), HOME)]

    played(scene)


def test_who_is_not_registered_is_told_nothing() -> None:
    async def scene(world: World) -> None:
        assert list(world.given.bound) == [HOME]
        world.given.refresh(OTHER)
        world.given.ended(HOME, "gone")
        world.given.refresh(HOME)
        assert world.sent == []
        assert list(world.given.bound) == []

    played(scene)


def test_control_operations() -> None:
    async def scene(world: World) -> None:
        named = {"home_address": str(HOME)}
        assert await world.given.asked_to_refresh(named, lambda _: None) == {"outcome": "asked"}
        asked = asyncio.create_task(world.given.asked_to_switch({**named, "to": [str(AGENTS[1])]}, lambda _: None))
        await until(lambda: len(world.sent) == 2)
        assert world.sent == [(wire.BindingRefreshRequest(), HOME), (wire.HomeAgentSwitch(AGENTS[1:]), HOME)]
        revoked = asyncio.create_task(world.given.asked_to_revoke(named, lambda _: None))
        await until(lambda: len(world.sent) == 3)
        assert "another" in (await asked)["outcome"]
        world.given.ended(HOME, "gone")
        assert await revoked == {"outcome": "gone"}
        with pytest.raises(LabError, match="no binding"):
            await world.given.asked_to_refresh(named, lambda _: None)

    played(scene)


@pytest.mark.parametrize("to", [["ha1"], [None], 7])
def test_what_is_no_address_is_refused(to: object) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(LabError, match="no address of a home agent"):
            await world.given.asked_to_switch({"home_address": str(HOME), "to": to}, lambda _: None)

    played(scene)
