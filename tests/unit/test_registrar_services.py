"""What a mobile node's registrar does beside registering: its name, revocations, Home Agent Switch."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from samples import wait_for

from testbed.mip6 import registration, wire
from testbed.mip6.registrar import Registrar
from testbed.mip6.registration import Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from testbed.mip6.carrier import HeardByMobileNode
    from testbed.mip6.retransmission import SendUpdate

HOME, CARE_OF, MOVED = (IPv6Address(text) for text in ("2001:db8:a::1001", "2001:db8:1::9", "2001:db8:2::9"))
AGENT, OTHER = IPv6Address("2001:db8:a::1"), IPv6Address("2001:db8:a::2")
NAME = "mn1.carrier.example"
WISH, END = wire.DnsUpdate(NAME), wire.DnsUpdate(NAME, remove=True)


class Way:
    """A carrier to a home agent that accepts everything, and says ``dns_status`` of each wish."""

    def __init__(self) -> None:
        self.wishes: list[wire.DnsUpdate | None] = []
        self.answers: list[wire.Message] = []
        self.dns_status = 0
        self.trusted = True
        self.hear: HeardByMobileNode | None = None

    def open(self, home_address: IPv6Address, home_agent: IPv6Address, heard: HeardByMobileNode) -> None:
        assert (home_address, home_agent) == (HOME, AGENT)
        self.hear = heard

    def close(self) -> None:
        self.hear = None

    def send(self, update: wire.BindingUpdate, _action: SendUpdate) -> None:
        wish = wire.option(update, wire.DnsUpdate)
        self.wishes.append(wish)
        told = (wire.DnsUpdate(wish.fqdn, wish.remove, self.dns_status),) if wish else ()
        answer = wire.BindingAcknowledgement(0, wire.AckFlags(0), update.sequence, update.lifetime_units, told)
        asyncio.get_running_loop().call_soon(self.say, answer)

    def say(self, message: wire.Message, source: IPv6Address = AGENT) -> None:
        if self.hear:
            self.hear(wire.encode(message, source, HOME), source)

    def answer(self, message: wire.Message, update: SendUpdate) -> None:
        assert update.home_agent == AGENT
        self.answers.append(message)

    def authentic(self, _answer: wire.BindingAcknowledgement, _octets: bytes) -> bool:
        return True

    def proves_orders(self) -> bool:
        return self.trusted


def played(scene: Callable[[Registrar, Way, list[Remedy]], Coroutine[None, None, None]], hostname: str = NAME) -> None:
    async def scenario() -> None:
        way, trouble = Way(), list[Remedy]()
        registrar = Registrar(way, 9, trouble.append, hostname)  # type: ignore[arg-type]
        try:
            await scene(registrar, way, trouble)
        finally:
            registrar.close()

    wait_for(scenario())


def test_the_name_is_asked_for_once_and_given_up_with_the_binding() -> None:
    async def scene(registrar: Registrar, way: Way, _: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        assert registrar.dns_status == 0
        await registrar.move(MOVED)
        await registrar.delete()
        assert way.wishes == [WISH, None, END]

    played(scene)


def test_at_home_the_name_stays() -> None:
    async def scene(registrar: Registrar, way: Way, _: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        await registrar.delete(at_home=True)
        assert way.wishes == [WISH, None]

    played(scene)


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (wire.DnsStatus.FAILED, WISH),
        (wire.DnsStatus.ADMINISTRATIVELY_PROHIBITED, None),
        (wire.DnsStatus.REASON_UNSPECIFIED, None),
    ],
    ids=["5026-8.1-130", "5026-8.1-129", "5026-8.1-128"],
)
def test_a_name_that_was_not_written(status: int, again: wire.DnsUpdate | None) -> None:
    async def scene(registrar: Registrar, way: Way, _: list[Remedy]) -> None:
        way.dns_status = status
        await registrar.register(HOME, AGENT, CARE_OF)
        assert registrar.dns_status == status
        await registrar.move(MOVED)
        await registrar.delete()
        assert way.wishes == [WISH, again, None]

    played(scene)


def test_no_name_is_asked_for_without_one() -> None:
    async def scene(registrar: Registrar, way: Way, _: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        await registrar.delete()
        assert way.wishes == [None, None]

    played(scene, hostname="")


def test_a_revocation_is_acknowledged_and_ends_the_binding_5846_11_1() -> None:
    async def scene(registrar: Registrar, way: Way, trouble: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        indication = wire.BindingRevocation(wire.RevocationKind.INDICATION, 1, 77)
        way.say(indication)
        assert isinstance(registrar.state, registration.Failed)
        way.say(indication)  # repeated: the acknowledgement was lost
        kind, status = wire.RevocationKind.ACKNOWLEDGEMENT, wire.RevocationStatus
        assert way.answers == [
            wire.BindingRevocation(kind, status.SUCCESS, 77),
            wire.BindingRevocation(kind, status.BINDING_DOES_NOT_EXIST, 77),
        ]
        assert trouble == [Remedy.REDISCOVER]

    played(scene)


def test_an_acknowledgement_of_a_revocation_is_not_for_a_mobile_node() -> None:
    async def scene(registrar: Registrar, way: Way, trouble: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        way.say(wire.BindingRevocation(wire.RevocationKind.ACKNOWLEDGEMENT, 0, 77))
        assert (way.answers, trouble) == ([], [])

    played(scene)


@pytest.mark.parametrize("named", [(), (OTHER,), (OTHER, AGENT)])
def test_a_switch_names_home_agents_5142_6_1(named: tuple[IPv6Address, ...]) -> None:
    async def scene(registrar: Registrar, way: Way, trouble: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        way.say(wire.HomeAgentSwitch(named))
        assert registrar.alternatives == named
        assert trouble == [Remedy.SWITCH_HOME_AGENT]
        assert isinstance(registrar.state, registration.Registered)  # until the mobile node leaves
        registrar.close()
        assert registrar.alternatives == ()

    played(scene)


@pytest.mark.parametrize("message", [wire.HomeAgentSwitch((OTHER,)), wire.BindingRevocation(1, 1, 77)])
def test_only_the_home_agent_is_obeyed(message: wire.Message) -> None:
    async def scene(registrar: Registrar, way: Way, trouble: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        way.say(message, OTHER)
        assert (registrar.alternatives, way.answers, trouble) == ((), [], [])

    played(scene)


@pytest.mark.parametrize("message", [wire.HomeAgentSwitch((OTHER,)), wire.BindingRevocation(1, 1, 77)])
def test_an_order_that_nothing_proves_is_not_obeyed(message: wire.Message) -> None:
    async def scene(registrar: Registrar, way: Way, trouble: list[Remedy]) -> None:
        await registrar.register(HOME, AGENT, CARE_OF)
        way.trusted = False
        way.say(message)
        assert (registrar.alternatives, way.answers, trouble) == ((), [], [])

    played(scene)
