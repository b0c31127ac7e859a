"""The mobile node's bootstrap, step by step, and its movement; fakes only of what touches the machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

import pytest
from fakes import (
    AGENT,
    CARE_OF,
    HOME,
    MOVED,
    OTHER_HOME,
    SECOND,
    FakeCharon,
    FakeIcmpSocket,
    FakeSignalling,
    acknowledgement,
    association,
    notes,
    tunnel,
)
from samples import chance, configured, until, wait_for

from testbed.errors import BootstrapError, LabError, NotReadyError
from testbed.mip6 import mobile_node, mobile_tunnel, wire
from testbed.mip6.attachment import Attachment
from testbed.mip6.discovery import DiscoveryError, HomeAgent
from testbed.mip6.mobile_node import Configuration, MobileNode
from testbed.mip6.ndisc import PrefixInformation, RouterAdvertisement
from testbed.mip6.ndlink import HeardRouter
from testbed.mip6.registration import Remedy
from testbed.mip6.steps import Name

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Coroutine

    from testbed.mip6.attachment import Delays
    from testbed.mip6.steps import Steps

STATUS = wire.BindingStatus
AGENTS = [HomeAgent("ha1.carrier.example", AGENT), HomeAgent("ha2.carrier.example", SECOND)]
ATTACHMENT = Attachment(CARE_OF, IPv6Network("2001:db8:1::/64"), IPv6Address("fe80::1"), (), (), None)
CONFIGURATION = configured(Configuration, "mn1", "mobile-node/mobile-node.json")
STEPS = [Name.ATTACH, Name.DISCOVERY, Name.IKE, Name.HOME_ADDRESS, Name.TUNNEL, Name.REGISTRATION]

Answer = wire.BindingStatus | int | None


class World:
    """A mobile node with all that is around it."""

    def __init__(self, configuration: Configuration = CONFIGURATION) -> None:
        self.charon = FakeCharon()
        self.configuration = configuration
        self.node = MobileNode(configuration, tunnel(self.charon, configuration), chance(1))
        self.log: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.answers: list[Answer] = []  # to Binding Updates in turn, then ACCEPTED
        self.unattached = ""
        self.undiscovered = ""

    async def attach(self, interface: str, _delays: Delays, _rng: random.Random, steps: Steps) -> Attachment:
        assert interface == self.configuration.interface
        self.log.append("attach")
        async with steps.step(Name.ATTACH):
            if self.unattached:
                raise NotReadyError(self.unattached, where=interface)
        return ATTACHMENT

    async def discover(self, domain: str, *_: object) -> list[HomeAgent]:
        assert domain == "carrier.example"
        if self.undiscovered:
            raise DiscoveryError(self.undiscovered, evidence=("NXDOMAIN",))
        return AGENTS

    def signalling(self, address: IPv6Address, heard: Any) -> FakeSignalling:
        opened = FakeSignalling(address, heard)

        def send(message: wire.Message, destination: IPv6Address) -> None:
            opened.sent.append((message, destination))
            assert isinstance(message, wire.BindingUpdate)
            status = self.answers.pop(0) if self.answers else STATUS.ACCEPTED
            if status is not None:
                answer = acknowledgement(message.sequence, status, message.lifetime_units)
                asyncio.get_running_loop().call_soon(opened.hear, answer, destination)

        opened.send = send  # type: ignore[method-assign]
        return opened

    @property
    def updates(self) -> list[wire.BindingUpdate]:
        sent = [message for opened in FakeSignalling.opened for message, _ in opened.sent]
        return [message for message in sent if isinstance(message, wire.BindingUpdate)]

    async def bootstrap(self) -> dict[str, Any]:
        return await self.node.bootstrap({}, self.told.append)

    async def refused(self) -> BootstrapError:
        with pytest.raises(BootstrapError) as caught:
            await self.bootstrap()
        return caught.value

    async def status(self) -> dict[str, Any]:
        return await self.node.status({}, lambda _: None)


def played(
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[World], Coroutine[Any, Any, None]],
    **changes: Any,
) -> World:
    FakeSignalling.opened = []

    async def scenario() -> World:
        world = World(replace(CONFIGURATION, **changes))
        monkeypatch.setattr(mobile_tunnel, "Signalling", world.signalling)
        monkeypatch.setattr("testbed.mip6.prefix_keeper.IcmpSocket", FakeIcmpSocket)
        monkeypatch.setattr(mobile_node, "attach", world.attach)
        monkeypatch.setattr("testbed.mip6.discovery.by_service", world.discover)
        for name in ("go_away", "give_up"):

            def keep(home: IPv6Address, *, tunnel_interface: bool, name: str = name) -> None:
                world.log.append(f"{name} {home} {tunnel_interface}")

            monkeypatch.setattr(f"testbed.mip6.home_route.{name}", keep)

        async def guarded(_home: IPv6Address) -> None:
            """Do nothing."""

        monkeypatch.setattr("testbed.mip6.guard.confine", guarded)
        monkeypatch.setattr("testbed.mip6.guard.let_loose", guarded)
        await scene(world)
        world.node._registrar.close()
        return world

    return wait_for(scenario())


def test_a_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        result = await world.bootstrap()
        assert 0 <= result.pop("waiting") <= result.pop("seconds") < 10
        assert result == {
            "home_agent": str(AGENT),
            "home_agent_name": "ha1.carrier.example",
            "home_address": str(HOME),
            "care_of_address": str(CARE_OF),
            "at_home": False,
        }
        status = await world.status()
        assert status["remaining"] == pytest.approx(600, abs=5)
        assert status["sequence"] == world.updates[0].sequence
        assert {key: status[key] for key in ("state", "home_agent", "home_address", "care_of_address")} == {
            "state": "registered",
            "home_agent": str(AGENT),
            "home_address": str(HOME),
            "care_of_address": str(CARE_OF),
        }

    world = played(monkeypatch, scene)
    assert [entry["step"] for entry in world.told] == STEPS
    assert world.log == ["attach", f"go_away {HOME} True"]
    assert world.charon.done == [
        "associations",
        f"load {AGENT}",  # IKE_AUTH without a child, which brings the home address
        "initiate home",
        "associations",
        "appears",
        f"load {AGENT} home",  # then CREATE_CHILD_SA with it for selector
        "initiate home",
    ]
    [update] = world.updates
    assert update.flags == wire.BindingFlags.A | wire.BindingFlags.H
    assert update.lifetime == 600
    alternate = wire.option(update, wire.AlternateCareOfAddress)
    assert alternate is not None
    assert alternate.address == CARE_OF
    assert FakeSignalling.opened[0].address == HOME


def test_with_esp_of_the_kernel_there_is_no_tunnel_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bootstrap()

    assert f"go_away {HOME} False" in played(monkeypatch, scene, esp="kernel").log


@pytest.mark.parametrize(
    ("break_it", "step", "message"),
    [
        (lambda w: setattr(w, "unattached", "no usable address"), Name.ATTACH, "eth0: no usable address"),
        (lambda w: setattr(w, "undiscovered", "no answer"), Name.DISCOVERY, "no answer"),
        (
            lambda w: w.charon.fails.update(
                {f"initiate home {AGENT}": "refused", f"initiate home {SECOND}": "refused"}
            ),
            Name.IKE,
            "no home agent accepted us: ha1.carrier.example, ha2.carrier.example",
        ),
        (
            lambda w: setattr(w.charon, "established", None),
            Name.IKE,
            "no home agent accepted us: ha1.carrier.example, ha2.carrier.example",
        ),
        (
            lambda w: setattr(w.charon, "established", replace(w.charon.established, own_addresses=())),
            Name.HOME_ADDRESS,
            "the home agent assigned no home address",
        ),
        (lambda w: w.charon.fails.update({"appears": "did not notice"}), Name.HOME_ADDRESS, "did not notice"),
        (
            lambda w: setattr(w, "answers", [STATUS.DUPLICATE_ADDRESS_DETECTION_FAILED]),
            Name.REGISTRATION,
            "the home agent refused the Binding Update with status 134, duplicate address detection failed",
        ),
        (
            lambda w: setattr(w, "answers", [200]),
            Name.REGISTRATION,
            "the home agent refused the Binding Update with status 200, unknown",
        ),
    ],
)
def test_a_failure_names_its_step(
    break_it: Callable[[World], None], step: Name, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(world: World) -> None:
        break_it(world)
        error = await world.refused()
        assert (error.step, error.message) == (step, message)
        assert (await world.status())["state"] != "registered"

    world = played(monkeypatch, scene)
    assert [entry["step"] for entry in world.told] == STEPS[: STEPS.index(step)]


def test_the_next_home_agent_is_tried_when_the_first_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.answers = [STATUS.INSUFFICIENT_RESOURCES]
        result = await world.bootstrap()
        assert result["home_agent"] == str(SECOND)
        assert (await world.status())["state"] == "registered"

    world = played(monkeypatch, scene)
    assert [str(update.lifetime) for update in world.updates] == ["600", "600"]


def test_when_no_home_agent_has_room_the_last_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.answers = [STATUS.INSUFFICIENT_RESOURCES, STATUS.ADMINISTRATIVELY_PROHIBITED]
        error = await world.refused()
        assert error.step == Name.REGISTRATION
        assert "status 129" in error.message

    played(monkeypatch, scene)


def test_a_tunnel_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        load = world.charon.load

        async def refuse_the_child(name: str, connection: dict[str, Any]) -> None:
            await load(name, connection)
            if connection["children"]:
                world.charon.fails["initiate home"] = "TS_UNACCEPTABLE"

        monkeypatch.setattr(world.charon, "load", refuse_the_child)
        error = await world.refused()
        assert (error.step, error.message) == (Name.TUNNEL, "TS_UNACCEPTABLE")
        assert error.evidence == ("[IKE] what charon logged",)

    played(monkeypatch, scene)


def test_the_second_home_agent_is_tried_when_the_first_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.fails[f"initiate home {AGENT}"] = "peer not responding"
        result = await world.bootstrap()
        assert result["home_agent_name"] == "ha2.carrier.example"

    world = played(monkeypatch, scene)
    assert world.charon.done[1:5] == [f"load {AGENT}", "initiate home", f"load {SECOND}", "initiate home"]


def test_all_failures_are_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.charon.fails[f"initiate home {AGENT}"] = "peer not responding"
        world.charon.fails[f"initiate home {SECOND}"] = "authentication failed"
        error = await world.refused()
        assert error.evidence == (
            f"ha1.carrier.example at {AGENT}: peer not responding",
            "[IKE] what charon logged",
            f"ha2.carrier.example at {SECOND}: authentication failed",
            "[IKE] what charon logged",
        )

    played(monkeypatch, scene)


@pytest.mark.parametrize(
    ("seed", "agents"),
    [
        ({"method": "configured", "name": "ha9.example", "address": str(SECOND)}, [HomeAgent("ha9.example", SECOND)]),
        ({"method": "dns-aaaa", "name": "ha1.carrier.example"}, AGENTS[:1]),
        ({"method": "dns-srv", "domain": "carrier.example"}, AGENTS),
    ],
)
def test_discovery_by_seed(seed: dict[str, str], agents: list[HomeAgent], monkeypatch: pytest.MonkeyPatch) -> None:
    async def by_name(name: str, _servers: object) -> list[HomeAgent]:
        return [agent for agent in AGENTS if agent.name == name]

    async def scene(world: World) -> None:
        monkeypatch.setattr("testbed.mip6.discovery.by_name", by_name)
        assert await world.node._discover(ATTACHMENT) == agents

    played(monkeypatch, scene, discovery=seed)


def test_a_second_bootstrap_gives_up_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bootstrap()
        world.charon.established = association(8, home=OTHER_HOME, at_mobile_node=True)
        world.log.clear()
        world.charon.done.clear()
        result = await world.bootstrap()
        assert result["home_address"] == str(OTHER_HOME)

    world = played(monkeypatch, scene)
    assert world.log == [f"give_up {HOME} True", "attach", f"go_away {OTHER_HOME} True"]
    assert world.charon.done[:2] == ["associations", "terminate 7"]
    assert [update.lifetime for update in world.updates] == [600, 0, 600]  # the binding is deleted first
    sequences = [update.sequence for update in world.updates]
    assert sequences == [(sequences[0] + more) % (1 << 16) for more in range(3)]
    assert [opened.is_open for opened in FakeSignalling.opened] == [False, False]


def test_a_bootstrap_after_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        world.answers = [STATUS.SERVICE_AUTHORIZATION_FAILED]
        await world.refused()
        world.log.clear()
        await world.bootstrap()
        assert (await world.status())["state"] == "registered"

    world = played(monkeypatch, scene)
    assert world.log[0] == f"give_up {HOME} True"
    assert [update.lifetime for update in world.updates] == [600, 600]  # nothing was bound, so nothing is deleted


def test_deregistration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(LabError, match="it is not registered"):
            await world.node.deregister({}, world.told.append)
        await world.bootstrap()
        assert await world.node.deregister({}, world.told.append) == {"home_address": str(HOME)}
        status = await world.status()
        assert (status["state"], status["home_address"], status["remaining"]) == ("idle", None, None)

    world = played(monkeypatch, scene)
    assert world.log[-1] == f"give_up {HOME} True"
    assert [update.lifetime for update in world.updates] == [600, 0]
    assert world.charon.present == []


def test_status_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        status = await world.status()
        assert status["sequence"] in range(1 << 16)
        assert (status["nai"], status["protection"], status["state"]) == ("mn1@corp.example", "tunnel", "idle")
        nothing = ("home_agent", "home_address", "care_of_address", "remaining")
        assert [status[key] for key in nothing] == [None] * len(nothing)
        with pytest.raises(LabError, match="it is not attached"):
            await world.node.next_handover({}, world.told.append)

    played(monkeypatch, scene)


def test_two_bootstraps_at_once_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await asyncio.gather(world.bootstrap(), world.bootstrap())

    world = played(monkeypatch, scene)
    assert [entry.split()[0] for entry in world.log] == ["attach", "go_away", "give_up", "attach", "go_away"]


def test_a_security_association_that_the_home_agent_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(world: World) -> None:
        following = asyncio.create_task(world.node.run())
        await world.bootstrap()
        world.charon.notify("ike-updown", association(6, at_mobile_node=True), up=False)  # not ours any more
        world.charon.present.clear()
        world.charon.established = association(8, at_mobile_node=True)
        world.charon.notify("ike-updown", association(7, at_mobile_node=True), up=False)
        await until(lambda: len(world.updates) == 2)
        await until(lambda: not world.node._recovery)
        assert (await world.status())["state"] == "registered"
        assert [entry.number for entry in world.charon.present] == [8]
        following.cancel()

    world = played(monkeypatch, scene)
    assert world.log == ["attach", f"go_away {HOME} True", f"give_up {HOME} True", f"go_away {HOME} True"]
    assert len(notes(capsys, "recovered")) == 1


def test_recovery_tries_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(mobile_node, "_FIRST_PAUSE", 0.001)

    async def scene(world: World) -> None:
        await world.bootstrap()
        world.answers = [STATUS.ACCEPTED, STATUS.SERVICE_AUTHORIZATION_FAILED]  # to its deletion, then a refusal
        world.node._trouble(Remedy.STOP)
        assert world.node._recovery is None
        world.node._trouble(Remedy.REDISCOVER)
        await until(lambda: not world.node._recovery)
        assert (await world.status())["state"] == "registered"

    played(monkeypatch, scene)
    assert [note["event"] for note in notes(capsys, "recovery failed")] == ["recovery failed"]


# Movement.

NEW = Attachment(MOVED, IPv6Network("2001:db8:2::/64"), IPv6Address("fe80::2"), (), (), None)
AT_HOME = Attachment(HOME, IPv6Network("2001:db8:b::/64"), IPv6Address("fe80::3"), (), (), None)


def plugged(monkeypatch: pytest.MonkeyPatch, world: World, network: Attachment) -> None:
    """Say what the mobile node finds where its interface is plugged in."""

    async def find_router(_interface: str) -> HeardRouter:
        prefix = PrefixInformation(network.prefix.network_address, 64, 3600, 3600)
        return HeardRouter(network.router, RouterAdvertisement(lifetime=30, prefixes=(prefix,)))

    async def settle(*_: object, moving: bool) -> Attachment:
        assert moving
        world.log.append(f"settle {network.care_of}")
        return network

    monkeypatch.setattr(mobile_node, "find_router", find_router)
    monkeypatch.setattr(mobile_node, "settle", settle)
    monkeypatch.setattr(mobile_node, "leave", lambda _interface, left: world.log.append(f"leave {left.care_of}"))
    for name in ("come_home", "leave_home"):

        def keep(home: IPv6Address, _length: int, _interface: str, name: str = name) -> None:
            world.log.append(f"{name} {home}")

        monkeypatch.setattr(f"testbed.mip6.home_route.{name}", keep)


async def handed_over(world: World, moved_to: IPv6Address | None) -> dict[str, Any]:
    """Watch a handover to its end, with charon following to an address."""
    watching = asyncio.create_task(world.node.next_handover({}, world.told.append))
    await until(lambda: {"watching": True} in world.told)
    world.told.clear()
    handover = asyncio.create_task(world.node._hand_over())
    if moved_to:
        await until(lambda: any(entry.startswith("settle") for entry in world.log))
        present = [replace(entry, children=frozenset({99}), local=moved_to) for entry in world.charon.present]
        world.charon.present = present
        world.charon.notify("ike-update", present[0])
    result = await watching
    await handover
    return result


def test_a_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        following = asyncio.create_task(world.node.run())
        await world.bootstrap()
        plugged(monkeypatch, world, NEW)
        world.log.clear()
        result = await handed_over(world, MOVED)
        assert (result["care_of_address"], result["home_address"]) == (str(MOVED), str(HOME))
        assert (await world.status())["care_of_address"] == str(MOVED)
        following.cancel()

    world = played(monkeypatch, scene)
    assert world.log == [f"settle {MOVED}", f"leave {CARE_OF}"]
    assert [entry["step"] for entry in world.told] == [Name.ROUTER, Name.MOBIKE, Name.REGISTRATION]
    alternate = wire.option(world.updates[1], wire.AlternateCareOfAddress)
    assert alternate is not None
    assert alternate.address == MOVED


def test_the_same_network_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        await world.bootstrap()
        plugged(monkeypatch, world, ATTACHMENT)
        world.log.clear()
        assert (await handed_over(world, None))["care_of_address"] == str(CARE_OF)

    world = played(monkeypatch, scene)
    assert world.log == []
    assert len(world.updates) == 1


def test_home_and_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        following = asyncio.create_task(world.node.run())
        await world.bootstrap()
        plugged(monkeypatch, world, AT_HOME)
        world.log.clear()
        result = await handed_over(world, HOME)
        assert result["at_home"] is True
        assert (await world.status())["state"] == "at home"
        plugged(monkeypatch, world, NEW)
        world.told.clear()
        assert (await handed_over(world, None))["at_home"] is False
        assert (await world.status())["state"] == "registered"
        following.cancel()

    world = played(monkeypatch, scene)
    assert world.log == [
        f"settle {HOME}",
        f"leave {CARE_OF}",
        f"give_up {HOME} True",
        f"come_home {HOME}",
        f"settle {MOVED}",
        f"leave {HOME}",
        f"leave_home {HOME}",
        f"go_away {HOME} True",
    ]
    assert [update.lifetime for update in world.updates] == [600, 0, 600]


def test_charon_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobile_tunnel, "_MOBIKE_DEADLINE", 0.02)

    async def scene(world: World) -> None:
        await world.bootstrap()
        plugged(monkeypatch, world, NEW)
        with pytest.raises(BootstrapError, match=f"charon did not move to {MOVED}") as caught:
            await handed_over(world, None)
        assert caught.value.step == Name.MOBIKE
        assert caught.value.evidence == ("the IKE_SA is at None",)
        await until(lambda: not world.node._recovery)  # it bootstraps again from there
        assert (await world.status())["state"] == "registered"

    played(monkeypatch, scene)


def test_nobody_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobile_node, "_HANDOVER_DEADLINE", 0.01)

    async def scene(world: World) -> None:
        await world.bootstrap()
        with pytest.raises(LabError, match=r"no handover within 0\.01 s"):
            await world.node.next_handover({}, world.told.append)
        assert world.node._listeners == []

    played(monkeypatch, scene)


def test_the_carrier_of_the_link_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    signs: asyncio.Queue[None] = asyncio.Queue()

    async def carrier_returns(_interface: str) -> AsyncIterator[None]:
        while True:
            await signs.get()
            yield

    async def scene(world: World) -> None:
        monkeypatch.setattr(mobile_node, "carrier_returns", carrier_returns)
        following = asyncio.create_task(world.node.follow_link())
        signs.put_nowait(None)  # before it is attached, that means nothing
        await until(signs.empty)
        assert world.node._handover is None
        await world.bootstrap()
        plugged(monkeypatch, world, ATTACHMENT)
        signs.put_nowait(None)
        signs.put_nowait(None)  # the first is given up for the second
        await until(signs.empty)
        await until(lambda: world.node._handover is None)
        following.cancel()

    played(monkeypatch, scene)
