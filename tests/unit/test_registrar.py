"""The mobile node's registrar on its own; fakes only of the socket and of charon."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import AGENT, CARE_OF, HOME, MOVED, SECOND, FakeCharon, FakeSignalling, acknowledgement, notes, tunnel
from samples import configured, until, wait_for

from testbed.mip6 import mobile_tunnel, registrar, wire
from testbed.mip6.mobile_node import Configuration
from testbed.mip6.registrar import Registrar
from testbed.mip6.registration import Registered, Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from ipaddress import IPv6Address

STATUS = wire.BindingStatus
CONFIGURATION = configured(Configuration, "mn1", "mobile-node/mobile-node.json")


def registering(scene: Callable[[Registrar, list[Remedy]], Coroutine[Any, Any, None]]) -> None:
    """Play a scene with a registrar whose updates nobody answers by itself."""
    FakeSignalling.opened = []
    trouble: list[Remedy] = []

    async def scenario() -> None:
        ours = Registrar(tunnel(FakeCharon(), CONFIGURATION), 9, trouble.append)
        try:
            await scene(ours, trouble)
        finally:
            ours.close()

    wait_for(scenario())


@pytest.fixture
def _socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobile_tunnel, "Signalling", FakeSignalling)


async def registered(ours: Registrar, status: int = STATUS.ACCEPTED, units: int = 100) -> int:
    """Register, and answer."""
    asked = asyncio.create_task(ours.register(HOME, AGENT, CARE_OF))
    await until(lambda: FakeSignalling.opened and FakeSignalling.opened[-1].sent)
    FakeSignalling.opened[-1].hear(acknowledgement(ours.state.exchange.sequence, status, units), AGENT)
    return await asked


@pytest.mark.usefixtures("_socket")
def test_the_lifetime_that_is_granted() -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        assert ours.remaining is None
        assert await registered(ours, units=100) == 400
        assert ours.remaining == pytest.approx(400, abs=2)

    registering(scene)


@pytest.mark.usefixtures("_socket")
def test_what_is_not_from_the_home_agent_or_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(ours: Registrar, trouble: list[Remedy]) -> None:
        asked = asyncio.create_task(ours.register(HOME, AGENT, CARE_OF))
        await until(lambda: FakeSignalling.opened)
        [socket] = FakeSignalling.opened
        socket.hear(acknowledgement(10, STATUS.ACCEPTED), SECOND)
        socket.hear(b"\x3b\x00\x06", AGENT)
        socket.hear(acknowledgement(4711, STATUS.ACCEPTED), AGENT)
        socket.hear(wire.BindingUpdate(1, wire.BindingFlags.A, 1), AGENT)
        assert not asked.done()
        socket.hear(acknowledgement(10, STATUS.ACCEPTED), AGENT)
        assert await asked == 600
        assert trouble == []

    registering(scene)
    out = capsys.readouterr().out
    assert "not from the home agent" in out
    assert '"event": "malformed"' in out
    assert "BindingUpdate" in out


@pytest.mark.usefixtures("_socket")
def test_a_refresh_that_is_asked_for_and_one_that_is_due() -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        await registered(ours)
        [socket] = FakeSignalling.opened
        socket.hear(wire.BindingRefreshRequest(), AGENT)
        assert len(socket.sent) == 2
        socket.hear(acknowledgement(11, STATUS.ACCEPTED), AGENT)
        state = ours.state
        assert isinstance(state, Registered)
        ours._state = replace(state, refresh_at=0.0)
        ours._due()
        assert len(socket.sent) == 3

    registering(scene)


@pytest.mark.usefixtures("_socket")
def test_a_refresh_that_is_refused_is_trouble() -> None:
    async def scene(ours: Registrar, trouble: list[Remedy]) -> None:
        await registered(ours)
        [socket] = FakeSignalling.opened
        socket.hear(wire.BindingRefreshRequest(), AGENT)
        socket.hear(acknowledgement(11, STATUS.NOT_HOME_AGENT_FOR_THIS_MOBILE_NODE), AGENT)
        assert trouble == [Remedy.REDISCOVER]
        assert ours.remaining is None

    registering(scene)


@pytest.mark.usefixtures("_socket")
def test_a_binding_error_makes_it_register_again() -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        await registered(ours)
        [socket] = FakeSignalling.opened
        socket.hear(wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, HOME), AGENT)
        assert len(socket.sent) == 2

    registering(scene)


@pytest.mark.usefixtures("_socket")
def test_a_movement() -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        with pytest.raises(registrar.RefusedError, match="there is no registration"):
            await ours.move(MOVED)
        await registered(ours)
        [socket] = FakeSignalling.opened
        asked = asyncio.create_task(ours.move(MOVED))
        await until(lambda: len(socket.sent) == 2)
        update = socket.sent[1][0]
        assert isinstance(update, wire.BindingUpdate)
        alternate = wire.option(update, wire.AlternateCareOfAddress)
        assert alternate is not None
        assert alternate.address == MOVED
        socket.hear(acknowledgement(11, STATUS.ACCEPTED), AGENT)
        assert await asked == 600

    registering(scene)


@pytest.mark.usefixtures("_socket")
def test_an_update_that_cannot_be_sent_is_sent_again(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        ours._timing = replace(ours._timing, first_timeout=0.01)
        asked = asyncio.create_task(ours.register(HOME, AGENT, CARE_OF))
        await until(lambda: FakeSignalling.opened)
        [socket] = FakeSignalling.opened
        await asyncio.sleep(0)
        socket.broken = False
        await until(lambda: len(socket.sent) > 0)
        socket.hear(acknowledgement(ours.state.exchange.sequence, STATUS.ACCEPTED), AGENT)
        assert await asked == 600

    original = FakeSignalling.__init__

    def broken(self: FakeSignalling, address: IPv6Address, heard: Any) -> None:
        original(self, address, heard)
        self.broken = True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeSignalling, "__init__", broken)
        registering(scene)
    assert notes(capsys, "not sent")


@pytest.mark.usefixtures("_socket")
def test_a_home_agent_that_never_answers() -> None:
    async def scene(ours: Registrar, _: list[Remedy]) -> None:
        ours._timing = replace(ours._timing, first_timeout=0.01, maximum_timeout=0.02, update_rate=100)
        with pytest.raises(registrar.RefusedError, match="did not acknowledge") as caught:
            await ours.register(HOME, AGENT, CARE_OF)
        assert caught.value.remedy is Remedy.NEXT_HOME_AGENT

    registering(scene)
