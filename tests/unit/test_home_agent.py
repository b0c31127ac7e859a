"""The home agent carries out what its state machine decides; fakes only of what touches the machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

import pytest
from fakes import AGENT, CARE_OF, HOME, MOVED, OTHER_HOME, SECOND, FakeCharon, FakeSignalling, association, notes
from samples import configured, until, wait_for

from testbed.mip6 import binding, home_agent, home_tunnel, wire
from testbed.mip6.home_agent import HomeAgent
from testbed.mip6.home_configuration import Configuration
from testbed.mip6.home_tunnel import HomeTunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from testbed.mip6.carrier import Received

LINK_LOCAL = IPv6Address("fe80::1001")
FLAGS = wire.BindingFlags.A | wire.BindingFlags.H
STATUS = wire.BindingStatus
CONFIGURATION = replace(
    configured(Configuration, "ha1", "home-agent/home-agent.json"),
    address=AGENT,
    home_prefix=IPv6Network("2001:db8:b::/64"),
    owners={str(SECOND): "mn2@corp.example"},
    reserved=(str(OTHER_HOME),),
    retrans_timer=0.01,
)


class FakeLink:
    """A home link on which some addresses are taken."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.taken: set[IPv6Address] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def duplicate_address_detection(self, address: IPv6Address, retrans_timer: float) -> bool:
        assert retrans_timer == CONFIGURATION.retrans_timer
        self.log.append(f"probe {address}")
        await self.go_on.wait()
        return address in self.taken

    def defend(self, address: IPv6Address, _retrans_timer: float) -> None:
        self.log.append(f"defend {address}")

    def release(self, address: IPv6Address) -> None:
        self.log.append(f"release {address}")


class Complaints:
    """Keeps what it would send."""

    told: list[tuple[IPv6Address, int]]

    def __init__(self, address: IPv6Address) -> None:
        assert address == AGENT

    def parameter_problem(self, received: Received, offset: int) -> None:
        self.told.append((received.reply_to, offset))


class World:
    """A home agent with all that is around it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.charon = FakeCharon()
        self.link = FakeLink(self.log)
        tunnel = HomeTunnel(AGENT, self.charon)  # type: ignore[arg-type]
        self.agent = HomeAgent(CONFIGURATION, tunnel, self.link)  # type: ignore[arg-type]

    @property
    def signalling(self) -> FakeSignalling:
        return FakeSignalling.opened[0]

    @property
    def answers(self) -> list[wire.BindingAcknowledgement]:
        return [message for message, _ in self.signalling.sent if isinstance(message, wire.BindingAcknowledgement)]

    def update(
        self,
        sequence: int = 1,
        lifetime: int = 400,
        care_of: IPv6Address | None = CARE_OF,
        flags: wire.BindingFlags = FLAGS,
    ) -> None:
        options = (wire.AlternateCareOfAddress(care_of),) if care_of else ()
        self.signalling.hear(wire.BindingUpdate(sequence, flags, lifetime // wire.LIFETIME_UNIT, options), HOME)

    async def answered(self, number: int = 1) -> list[STATUS]:
        """Wait for so many acknowledgements and give their statuses."""
        await until(lambda: len(self.answers) >= number)
        return [STATUS(answer.status) for answer in self.answers]

    async def bound(self) -> None:
        """Have the mobile node registered."""
        self.charon.notify("ike-updown", association())
        await until(self.agent._carrier.status)
        self.update()
        assert await self.answered() == [STATUS.ACCEPTED]

    async def status(self) -> dict[str, Any]:
        return await self.agent.status({}, lambda _: None)


async def idle(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSignalling.opened = []
    Complaints.told = []
    monkeypatch.setattr(home_tunnel, "Signalling", FakeSignalling)
    monkeypatch.setattr(home_agent, "Complaints", Complaints)
    monkeypatch.setattr("testbed.mip6.dhaad.HomeAgentDiscovery.run", idle)


def played(monkeypatch: pytest.MonkeyPatch, scene: Callable[[World], Coroutine[Any, Any, None]]) -> World:
    """Play a scene while the home agent runs."""

    @asynccontextmanager
    async def running() -> AsyncIterator[World]:
        world = World()

        async def admit(home: IPv6Address) -> None:
            world.log.append(f"admit {home}")

        async def expel(home: IPv6Address) -> None:
            world.log.append(f"expel {home}")

        monkeypatch.setattr("testbed.mip6.guard.admit", admit)
        monkeypatch.setattr("testbed.mip6.guard.expel", expel)
        serving = asyncio.create_task(world.agent.run())
        await until(lambda: FakeSignalling.opened or serving.done())
        yield world
        assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def scenario() -> World:
        async with running() as world:
            await scene(world)
        return world

    return wait_for(scenario())


def test_a_registration(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        told = await world.status()
        [entry] = told["bindings"]
        assert entry.pop("remaining") == pytest.approx(400, abs=2)
        assert entry == {
            "home_address": str(HOME),
            "care_of_address": str(CARE_OF),
            "identity": "mn1@corp.example",
            "sequence": 1,
            "lifetime": 400,
        }
        assert (told["home_agent"], told["owners"], told["refused"]) == (str(AGENT), {str(HOME): "mn1@corp.example"}, 0)

    world = played(monkeypatch, scene)
    # nothing is let through or defended before the address is known to be nobody's; the answer comes last
    assert world.log == [f"probe {HOME}", f"admit {HOME}", f"defend {HOME}"]
    [(answer, destination)] = world.signalling.sent
    assert destination == HOME  # into the tunnel
    assert isinstance(answer, wire.BindingAcknowledgement)
    assert (answer.sequence, answer.lifetime) == (1, 400)
    assert notes(capsys, "binding acknowledgement")[0]["meaning"] == "ACCEPTED"
    assert not world.signalling.is_open


def test_with_a_link_local_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        world.update(flags=FLAGS | wire.BindingFlags.L)
        assert await world.answered() == [STATUS.ACCEPTED]

    log = played(monkeypatch, scene).log
    assert log == [
        f"probe {HOME}",
        f"probe {LINK_LOCAL}",
        f"admit {HOME}",
        f"defend {HOME}",
        f"defend {LINK_LOCAL}",
    ]


def test_an_update_that_is_faster_than_charons_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        world.update()
        assert await world.answered() == [STATUS.ACCEPTED]
        assert world.charon.done == ["associations"]

    played(monkeypatch, scene)


def test_nobody_owns_the_home_address(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        world.update()
        await until(lambda: world.agent._refused)
        assert (await world.status())["refused"] == 1
        assert (await world.status())["bindings"] == []

    world = played(monkeypatch, scene)
    assert (world.signalling.sent, world.log) == ([], [])  # in silence: RFC 6275 section 10.3.1
    [discarded] = notes(capsys, "discarded")
    assert discarded["section"] == "RFC 6275 section 10.3.1"


def test_a_care_of_address_that_is_not_the_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        world.update(care_of=MOVED)
        assert await world.answered() == [STATUS.INVALID_CARE_OF_ADDRESS]
        assert (await world.status())["bindings"] == []

    assert played(monkeypatch, scene).log == []
    assert int(STATUS.INVALID_CARE_OF_ADDRESS) == 174


def test_without_an_alternate_care_of_address_the_tunnels_end_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.update(2, care_of=None)
        assert await world.answered(2) == [STATUS.ACCEPTED] * 2
        assert (await world.status())["bindings"][0]["care_of_address"] == str(CARE_OF)

    played(monkeypatch, scene)


def test_an_address_that_somebody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.link.taken = {HOME}
        world.charon.present = [association()]
        world.update()
        assert await world.answered() == [STATUS.DUPLICATE_ADDRESS_DETECTION_FAILED]

    assert played(monkeypatch, scene).log == [f"probe {HOME}"]


def test_a_refresh_and_a_movement(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.update(2)
        await world.answered(2)
        world.charon.notify("ike-update", association(), new_peer=MOVED)
        await until(lambda: world.agent._carrier._owners[HOME].peer == MOVED)  # type: ignore[attr-defined]
        world.update(3, care_of=MOVED)
        assert await world.answered(3) == [STATUS.ACCEPTED] * 3
        assert (await world.status())["bindings"][0]["care_of_address"] == str(MOVED)

    world = played(monkeypatch, scene)
    assert world.log.count(f"probe {HOME}") == 1  # once only: RFC 6275 section 10.3.1
    assert notes(capsys, "moved")[0]["new"] == str(MOVED)


def test_an_old_sequence_number(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.update(1)
        assert (await world.answered(2))[1] == STATUS.SEQUENCE_NUMBER_OUT_OF_WINDOW

    played(monkeypatch, scene)


def test_a_deregistration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.update(2, lifetime=0, care_of=None)
        assert await world.answered(2) == [STATUS.ACCEPTED] * 2
        assert (await world.status())["bindings"] == []

    assert played(monkeypatch, scene).log[3:] == [f"release {HOME}", f"release {LINK_LOCAL}", f"expel {HOME}"]


def test_the_owner_is_gone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.charon.notify("ike-updown", association(6), up=False)  # an older one of the same mobile node
        world.charon.notify("ike-updown", association(), up=False)
        await until(lambda: f"expel {HOME}" in world.log)
        told = await world.status()
        assert (told["bindings"], told["owners"]) == ([], {})

    world = played(monkeypatch, scene)
    assert world.log[3:] == [f"release {HOME}", f"release {LINK_LOCAL}", f"expel {HOME}"]
    assert notes(capsys, "released")[0]["reason"] == binding.Reason.OWNER_GONE


def test_an_older_association_that_ends_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.charon.notify("ike-updown", association(6), up=False)
        world.charon.notify("ike-update", association(6), new_peer=MOVED)
        await until(world.charon._notices.empty)
        assert (await world.status())["bindings"]

    played(monkeypatch, scene)


def test_the_owner_is_gone_while_its_address_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.link.go_on.clear()
        world.charon.notify("ike-updown", association())
        await until(world.agent._carrier.status)
        world.update()
        await until(lambda: world.log)
        world.charon.notify("ike-updown", association(), up=False)
        await until(lambda: not world.agent._probes)
        world.link.go_on.set()
        await asyncio.sleep(0)
        assert not world.agent._entries

    world = played(monkeypatch, scene)
    assert (world.log, world.signalling.sent) == ([f"probe {HOME}"], [])


def test_a_binding_expires(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        # the timer that was set is for 400 s: have it find that the lifetime is over
        entry = world.agent._entries[HOME]
        assert isinstance(entry, binding.Bound)
        soon = asyncio.get_running_loop().time() + 0.01
        world.agent._take(HOME, binding.Step(replace(entry, expires=soon)))
        await until(lambda: f"expel {HOME}" in world.log)
        assert world.agent._timers == {}
        assert (await world.status())["bindings"] == []

    played(monkeypatch, scene)
    assert notes(capsys, "released")[0]["reason"] == binding.Reason.EXPIRED


def test_a_timer_that_is_early_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        world.update(2, lifetime=800)
        await world.answered(2)
        world.agent._timers[HOME].cancel()
        world.agent._expire(HOME)  # as the timer of the first lifetime would
        assert (await world.status())["bindings"]
        assert world.agent._timers[HOME].when() == world.agent._entries[HOME].expires

    played(monkeypatch, scene)


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", None),
        (b"\x3b", None),
        (b"\x3b\x00\x05\x00\x00\x00\x00\x00", (HOME, 1)),  # a Binding Update of 8 octets: Header Len
        (b"\x06\x01\x05\x00\x00\x00\x00\x01\xc0\x00\x00\x64\x01\x02\x00\x00", (HOME, 0)),  # Payload Proto is not 59
        (b"\x3b\xff\x05\x00" + bytes(12), None),  # cut off
        (bytes(200), (HOME, 0)),
    ],
)
def test_malformed_octets(
    octets: bytes,
    complaint: tuple[IPv6Address, int] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        world.signalling.hear(octets, HOME)
        assert (await world.status())["refused"] == 1
        world.update()  # and it goes on
        assert await world.answered() == [STATUS.ACCEPTED]

    played(monkeypatch, scene)
    assert Complaints.told == ([complaint] if complaint else [])
    assert len(notes(capsys, "malformed")) == 1


def test_an_unknown_type_is_answered_by_a_binding_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.signalling.hear(b"\x3b\x00\xfe\x00\x00\x00\x00\x00", HOME)
        [(message, destination)] = world.signalling.sent
        assert isinstance(message, wire.BindingError)
        assert message.status == wire.BindingErrorStatus.UNRECOGNIZED_TYPE
        assert message.home_address == IPv6Address("::")  # there was no option: RFC 6275 section 9.3.3
        assert destination == HOME

    played(monkeypatch, scene)


def test_another_message_is_ignored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        world.signalling.hear(wire.BindingRefreshRequest(), HOME)
        assert (await world.status())["refused"] == 0

    assert played(monkeypatch, scene).signalling.sent == []
    assert notes(capsys, "ignored")[0]["type"] == "BindingRefreshRequest"


def test_an_answer_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        world.signalling.broken = True
        world.update()
        await until(lambda: f"defend {HOME}" in world.log and world.agent._work.empty())
        await asyncio.sleep(0)
        world.signalling.broken = False
        world.update(2)
        assert await world.answered() == [STATUS.ACCEPTED]  # the mobile node asks again, and it goes on

    played(monkeypatch, scene)
    assert notes(capsys, "not sent")[0]["reason"] == "[Errno 101] Network is unreachable"


def test_an_action_that_fails_does_not_end_the_agent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(world: World) -> None:
        def defend(_address: IPv6Address, _retrans_timer: float) -> None:
            raise OSError(19, "No such device")

        monkeypatch.setattr(world.link, "defend", defend)
        world.charon.present = [association()]
        world.update()
        assert await world.answered() == [STATUS.ACCEPTED]

    played(monkeypatch, scene)
    assert notes(capsys, "failed")[0]["action"] == "Intercept"


def test_a_home_tunnel_sends_no_routing_header(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        message = wire.BindingRefreshRequest()
        with pytest.raises(AssertionError):
            world.agent._carrier.send(message, HOME, CARE_OF, type2=True)

    played(monkeypatch, scene)


@pytest.mark.parametrize("home", [OTHER_HOME, SECOND], ids=["reserved", "of another"])
def test_a_home_address_of_somebody_else_5026_9_2(monkeypatch: pytest.MonkeyPatch, home: IPv6Address) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association(home=home)]
        update = wire.BindingUpdate(1, FLAGS, 100, (wire.AlternateCareOfAddress(CARE_OF),))
        world.signalling.hear(update, home)
        assert await world.answered() == [STATUS.ADMINISTRATIVELY_PROHIBITED]
        assert (await world.status())["bindings"] == []

    assert played(monkeypatch, scene).log == []


def test_a_binding_is_not_extended_while_its_mobile_node_has_to_switch_5142_5_3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        asked = asyncio.create_task(
            world.agent.instructions.asked_to_switch({"home_address": str(HOME), "to": [str(SECOND)]}, lambda _: None)
        )
        await until(lambda: len(world.signalling.sent) == 2)
        assert world.signalling.sent[1] == (wire.HomeAgentSwitch((SECOND,)), HOME)
        world.update(sequence=2)
        assert (await world.answered(2))[1] == STATUS.ADMINISTRATIVELY_PROHIBITED
        assert (await world.status())["bindings"]
        world.update(sequence=3, lifetime=0)
        assert (await world.answered(3))[2] == STATUS.ACCEPTED
        assert await asked == {"outcome": "the mobile node deleted its binding"}

    played(monkeypatch, scene)


def test_a_revocation_that_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        named = {"home_address": str(HOME)}
        asked = asyncio.create_task(world.agent.instructions.asked_to_revoke(named, lambda _: None))
        await until(lambda: len(world.signalling.sent) == 2)
        indication = world.signalling.sent[1][0]
        assert isinstance(indication, wire.BindingRevocation)
        world.signalling.hear(replace(indication, kind=wire.RevocationKind.ACKNOWLEDGEMENT, code=0), HOME)
        assert await asked == {"outcome": "acknowledged with status 0"}
        await until(lambda: f"expel {HOME}" in world.log)
        assert (await world.status())["bindings"] == []

    played(monkeypatch, scene)


def test_a_binding_error_ends_a_switch_that_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bound()
        named = {"home_address": str(HOME), "to": []}
        asked = asyncio.create_task(world.agent.instructions.asked_to_switch(named, lambda _: None))
        await until(lambda: len(world.signalling.sent) == 2)
        world.signalling.hear(wire.BindingError(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, HOME), HOME)
        assert "does not know" in (await asked)["outcome"]
        assert (await world.status())["bindings"]

    played(monkeypatch, scene)


def test_a_name_is_answered_beside_the_acknowledgement_5026_8_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.present = [association()]
        wish = wire.DnsUpdate("mn1.carrier.example")
        update = wire.BindingUpdate(1, FLAGS, 100, (wire.AlternateCareOfAddress(CARE_OF), wish))
        world.signalling.hear(update, HOME)
        assert await world.answered() == [STATUS.ACCEPTED]
        told = wire.option(world.answers[0], wire.DnsUpdate)
        assert told == replace(wish, status=wire.DnsStatus.ADMINISTRATIVELY_PROHIBITED)  # there is no zone to write

    played(monkeypatch, scene)
