"""RFC 4285 at both ends: what proves a message, what is refused with which status, and what nobody answers."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from fakes import AGENT, CARE_OF, HOME, MOVED, OTHER_HOME

from testbed.mip6 import wire
from testbed.mip6.authentication import HomeAuthentication, MobilityAssociation, Question
from testbed.mip6.carrier import NO_PROOF, Proof, Received
from testbed.mip6.mobile_authentication import MobileAuthentication
from testbed.mip6.retransmission import SendUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv6Address

NAI = "mn1@corp.example"
MN_HA, MN_AAA = wire.AuthenticationSubtype.MN_HA, wire.AuthenticationSubtype.MN_AAA
KEY, AAA_KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32)), bytes(16)
STATUS = wire.BindingStatus
FLAGS = wire.BindingFlags.A | wire.BindingFlags.H
SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
ASSOCIATION = MobilityAssociation(NAI, HOME, 256, KEY)


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class FakeAaa:
    """Computes as FreeRADIUS does."""

    keys: dict[str, bytes] = field(default_factory=lambda: {NAI: AAA_KEY})
    questions: list[Question] = field(default_factory=list)
    answers: bool = True

    async def authenticate(self, question: Question) -> MobilityAssociation | None:
        self.questions.append(question)
        await asyncio.sleep(0)
        key = self.keys.get(question.nai)
        genuine = key and hmac.digest(key, question.digest, "sha1") == question.authenticator
        return ASSOCIATION if genuine and self.answers else None


class World:
    """A mobile node and a home agent, each with a clock."""

    def __init__(
        self,
        *associations: MobilityAssociation,
        keys: Mapping[wire.AuthenticationSubtype, bytes] | None = None,
        aaa: FakeAaa | None = None,
    ) -> None:
        self.clock, self.agents_clock = Clock(), Clock()
        self.mobile = MobileAuthentication(NAI, 256, keys or {MN_HA: KEY}, self.clock)
        self.agent = HomeAuthentication(associations, aaa, self.agents_clock)
        self.sequence = 0

    def update(self, care_of: IPv6Address = CARE_OF, home: IPv6Address = HOME) -> wire.BindingUpdate:
        self.sequence += 1
        bare = wire.BindingUpdate(self.sequence, FLAGS, 150, (wire.AlternateCareOfAddress(care_of),))
        return self.mobile.sealed(bare, SendUpdate(self.sequence, FLAGS, 150, home, care_of, AGENT))

    def judge(
        self, update: wire.BindingUpdate, care_of: IPv6Address = CARE_OF, home: IPv6Address = HOME
    ) -> Proof | None:
        return self.agent.proof(received(update, home), update, care_of)

    def learn_and_judge(self, update: wire.BindingUpdate) -> Proof | None:
        assert self.judge(update) is None
        asyncio.run(self.agent.learn(received(update), update, CARE_OF))
        return self.judge(update)

    def answer(self, proof: Proof, status: int, home: IPv6Address = HOME) -> tuple[wire.BindingAcknowledgement, bytes]:
        bare = wire.BindingAcknowledgement(status, wire.AckFlags(0), self.sequence, 150)
        sealed = self.agent.sealed(bare, home, proof.context)
        return sealed, wire.encode(sealed, AGENT, home)

    def believes(self, answer: wire.BindingAcknowledgement, octets: bytes) -> bool:
        return self.mobile.authentic(answer, octets)


def received(update: wire.BindingUpdate, home: IPv6Address = HOME) -> Received:
    return Received(wire.encode(update, home, AGENT), home, CARE_OF, CARE_OF, home_address_option=True)


def timestamp(message: wire.BindingUpdate | wire.BindingAcknowledgement) -> int:
    replay = wire.option(message, wire.ReplayProtection)
    assert replay
    return replay.timestamp


def certain(proof: Proof | None) -> Proof:
    assert proof is not None
    return proof


def test_a_registration_and_its_answer() -> None:
    world = World(ASSOCIATION)
    update = world.update()
    proof = certain(world.judge(update))
    assert (proof.identity, proof.authorization, proof.timely) == (NAI, STATUS.ACCEPTED, True)
    answer, octets = world.answer(proof, STATUS.ACCEPTED)
    assert [type(option) for option in answer.options] == [
        wire.MobileNodeIdentifier,
        wire.ReplayProtection,
        wire.MobilityAuthentication,
    ]
    assert timestamp(answer) == timestamp(update)
    assert world.believes(answer, octets)


def test_the_options_of_an_update_in_their_order() -> None:
    both = World(keys={MN_HA: KEY, MN_AAA: AAA_KEY}).update()
    assert [type(option) for option in both.options] == [
        wire.MobileNodeIdentifier,
        wire.AlternateCareOfAddress,
        wire.ReplayProtection,
        wire.MobilityAuthentication,
        wire.MobilityAuthentication,
    ]
    proofs = [
        (o.subtype, o.spi, len(o.authenticator)) for o in both.options if isinstance(o, wire.MobilityAuthentication)
    ]
    assert proofs == [(MN_HA, 256, 12), (MN_AAA, wire.HMAC_SHA1_SPI, 20)]


@pytest.mark.parametrize("lost", [True, False])
def test_timestamps_grow_whatever_the_clock_does(lost: bool) -> None:
    world = World(ASSOCIATION)
    last = 0
    for _ in range(3):
        update = world.update()
        assert timestamp(update) > last
        last = timestamp(update)
        world.clock.now -= SECOND  # somebody sets it back
        assert lost or certain(world.judge(update)).authorization == STATUS.ACCEPTED


def test_a_replayed_update() -> None:
    world = World(ASSOCIATION)
    update = world.update()
    assert certain(world.judge(update)).authorization == STATUS.ACCEPTED
    world.agents_clock.now += SECOND
    proof = certain(world.judge(update))
    assert (proof.authorization, proof.timely) == (STATUS.MIPV6_ID_MISMATCH, False)
    answer, _ = world.answer(proof, STATUS.MIPV6_ID_MISMATCH)
    own = wire.ntp_timestamp(world.agents_clock.now)
    assert timestamp(answer) == own >> 32 << 32 | timestamp(update) % 2**32


@pytest.mark.parametrize(("ahead", "status"), [(6, 0), (-6, 0), (8, 144), (-8, 144)])
def test_clocks_that_differ(ahead: int, status: int) -> None:
    world = World(ASSOCIATION)
    world.clock.now += ahead * SECOND
    assert certain(world.judge(world.update())).authorization == status


@pytest.mark.parametrize("ahead", [-86400, -8, 8, 86400])
def test_a_mobile_node_takes_the_time_of_its_home_agent(ahead: int) -> None:
    world = World(ASSOCIATION)
    world.clock.now += ahead * SECOND
    proof = certain(world.judge(world.update()))
    assert proof.authorization == STATUS.MIPV6_ID_MISMATCH
    assert world.believes(*world.answer(proof, STATUS.MIPV6_ID_MISMATCH))
    assert certain(world.judge(world.update())).authorization == STATUS.ACCEPTED


def test_a_mismatch_that_is_not_for_the_last_update_changes_nothing() -> None:
    world = World(ASSOCIATION)
    first = world.update()
    world.judge(first)
    world.clock.now += SECOND // 3
    second = world.update()
    stale = certain(world.judge(first))
    assert not world.believes(*world.answer(stale, STATUS.MIPV6_ID_MISMATCH))
    assert certain(world.judge(second)).authorization == STATUS.ACCEPTED


def test_without_a_timestamp() -> None:
    world = World(ASSOCIATION)
    update = replace(world.update(), options=(wire.MobileNodeIdentifier(NAI.encode()), blank()))
    proof = certain(world.judge(wire.sign(update, {MN_HA: KEY}, CARE_OF, HOME)))
    assert proof.authorization == STATUS.MIPV6_MESG_ID_REQD
    answer, octets = world.answer(proof, STATUS.MIPV6_MESG_ID_REQD)
    assert wire.option(answer, wire.ReplayProtection) is None
    assert wire.verify(octets, MN_HA, KEY, CARE_OF, HOME)


def blank(spi: int = 256) -> wire.MobilityAuthentication:
    return wire.MobilityAuthentication(MN_HA, spi)


def resigned(update: wire.BindingUpdate, *options: wire.Option, key: bytes = KEY) -> wire.BindingUpdate:
    return wire.sign(replace(update, options=options), {MN_HA: key, MN_AAA: AAA_KEY}, CARE_OF, HOME)


FAILURES: dict[str, Callable[[wire.BindingUpdate], wire.BindingUpdate]] = {
    "another key": lambda u: resigned(u, *u.options, key=OTHER_KEY),
    "nothing that authenticates": lambda u: replace(u, options=u.options[:-1]),
    "an option behind": lambda u: resigned(u, *u.options, wire.ServiceSelection("mip6")),
    "twice": lambda u: resigned(u, *u.options, blank()),
    "another lifetime": lambda u: replace(u, lifetime_units=1),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_does_not_prove_anything(failure: str) -> None:
    world = World(ASSOCIATION)
    proof = certain(world.judge(FAILURES[failure](world.update())))
    assert (proof.identity, proof.authorization) == (NAI, STATUS.MIPV6_AUTH_FAIL)
    answer, octets = world.answer(proof, STATUS.MIPV6_AUTH_FAIL)
    assert wire.verify(octets, MN_HA, KEY, CARE_OF, HOME)
    assert world.believes(answer, octets)
    # nobody else's word moved the last accepted timestamp
    assert certain(world.judge(world.update())).authorization == STATUS.ACCEPTED


def test_a_proof_for_another_care_of_address_is_none() -> None:
    world = World(ASSOCIATION)
    assert certain(world.judge(world.update(), care_of=MOVED)).authorization == STATUS.MIPV6_AUTH_FAIL


SILENCES: dict[str, Callable[[wire.BindingUpdate], wire.BindingUpdate]] = {
    "no identity": lambda u: resigned(u, *u.options[1:]),
    "another identity": lambda u: resigned(u, wire.MobileNodeIdentifier(b"mn9@corp.example"), *u.options[1:]),
    "no NAI": lambda u: resigned(u, wire.MobileNodeIdentifier(b"\1\2", 2), *u.options[1:]),
    "another association": lambda u: resigned(u, *u.options[:-1], blank(257)),
}


@pytest.mark.parametrize("silence", SILENCES)
def test_whom_nobody_knows_nobody_answers(silence: str) -> None:
    world = World(ASSOCIATION)
    assert world.judge(SILENCES[silence](world.update())) is NO_PROOF


def test_the_home_address_of_another() -> None:
    world = World(ASSOCIATION)
    assert world.judge(world.update(home=OTHER_HOME), home=OTHER_HOME) is NO_PROOF


def test_an_answer_without_its_proof_is_left_as_it_is() -> None:
    bare = wire.BindingAcknowledgement(STATUS.ADMINISTRATIVELY_PROHIBITED, wire.AckFlags(0), 1, 0)
    assert World(ASSOCIATION).agent.sealed(bare, HOME, None) == bare


@pytest.mark.parametrize("change", ["status", "key", "timestamp", "option"])
def test_what_a_mobile_node_does_not_believe(change: str) -> None:
    world = World(ASSOCIATION)
    proof = certain(world.judge(world.update()))
    answer, _ = world.answer(proof, STATUS.ACCEPTED)
    match change:
        case "status":
            answer = replace(answer, status=1)
        case "key":
            answer = wire.sign(answer, {MN_HA: OTHER_KEY}, CARE_OF, HOME)
        case "timestamp":
            options = (answer.options[0], wire.ReplayProtection(timestamp(answer) + 1), blank())
            answer = wire.sign(replace(answer, options=options), {MN_HA: KEY}, CARE_OF, HOME)
        case "option":
            answer = replace(answer, options=())
    assert not world.believes(answer, wire.encode(answer, AGENT, HOME))


def test_nothing_is_believed_before_anything_was_sent() -> None:
    answer = wire.BindingAcknowledgement(0, wire.AckFlags(0), 1, 150)
    assert not World().believes(answer, wire.encode(answer, AGENT, HOME))


def test_aaa_judges_once_and_the_home_agent_from_then_on() -> None:
    aaa = FakeAaa()
    world = World(keys={MN_HA: KEY, MN_AAA: AAA_KEY}, aaa=aaa)
    proof = certain(world.learn_and_judge(world.update()))
    assert (proof.identity, proof.authorization) == (NAI, STATUS.ACCEPTED)
    assert world.believes(*world.answer(proof, STATUS.ACCEPTED))
    world.clock.now += SECOND
    assert certain(world.judge(world.update())).authorization == STATUS.ACCEPTED
    assert [(q.nai, q.care_of, q.home_address, len(q.digest)) for q in aaa.questions] == [(NAI, CARE_OF, HOME, 20)]
    assert world.agent.status() == {str(HOME): NAI}


def test_after_the_end_of_a_binding_aaa_is_asked_again_but_replays_are_remembered() -> None:
    aaa = FakeAaa()
    world = World(keys={MN_HA: KEY, MN_AAA: AAA_KEY}, aaa=aaa)
    update = world.update()
    world.learn_and_judge(update)
    world.agent.ended(HOME)
    assert world.agent.status() == {}
    assert certain(world.learn_and_judge(update)).authorization == STATUS.MIPV6_ID_MISMATCH
    assert len(aaa.questions) == 2


def test_what_is_configured_outlives_a_binding() -> None:
    world = World(ASSOCIATION)
    world.agent.ended(HOME)
    assert world.agent.status() == {str(HOME): NAI}


@pytest.mark.parametrize("reason", ["another key", "unknown identity", "no answer"])
def test_aaa_refuses(reason: str) -> None:
    aaa = FakeAaa(answers=reason != "no answer")
    if reason == "unknown identity":
        aaa.keys.clear()
    keys = {MN_HA: KEY, MN_AAA: OTHER_KEY if reason == "another key" else AAA_KEY}
    world = World(keys=keys, aaa=aaa)
    assert world.learn_and_judge(world.update()) is NO_PROOF
    assert world.agent.status() == {}


def test_aaa_accepts_what_the_home_agents_key_does_not_prove() -> None:
    world = World(keys={MN_HA: OTHER_KEY, MN_AAA: AAA_KEY}, aaa=FakeAaa())
    assert certain(world.learn_and_judge(world.update())).authorization == STATUS.MIPV6_AUTH_FAIL


def only_aaa(world: World, key: bytes = AAA_KEY, spi: int = wire.HMAC_SHA1_SPI) -> wire.BindingUpdate:
    """An update without an MN-HA option."""
    update = world.update()
    options = (*update.options[:3], wire.MobilityAuthentication(MN_AAA, wire.HMAC_SHA1_SPI))
    signed = wire.sign(replace(update, options=options), {MN_AAA: key}, CARE_OF, HOME)
    proof = wire.option(signed, wire.MobilityAuthentication)
    assert proof
    return replace(signed, options=(*signed.options[:3], replace(proof, spi=spi)))


def test_without_an_mn_ha_option_aaa_judges_each_time() -> None:
    aaa = FakeAaa()
    world = World(aaa=aaa)
    for _ in range(2):
        proof = certain(world.learn_and_judge(only_aaa(world)))
        assert proof.authorization == STATUS.ACCEPTED
        assert world.believes(*world.answer(proof, STATUS.ACCEPTED))
        world.clock.now += SECOND
    proof = certain(world.learn_and_judge(only_aaa(world, OTHER_KEY)))
    assert proof.authorization == STATUS.MIPV6_AUTH_FAIL
    assert len(aaa.questions) == 3


def test_another_hash_is_not_asked_about() -> None:
    aaa = FakeAaa()
    world = World(aaa=aaa)
    update = only_aaa(world, spi=5)
    asyncio.run(world.agent.learn(received(update), update, CARE_OF))
    assert world.judge(update) is None
    assert aaa.questions == []


def test_nobody_is_asked_without_aaa() -> None:
    world = World(keys={MN_HA: KEY, MN_AAA: AAA_KEY})
    update = world.update()
    assert world.judge(update) is NO_PROOF
    asyncio.run(world.agent.learn(received(update), update, CARE_OF))


def test_the_same_update_is_asked_about_once_at_a_time_and_not_too_many() -> None:
    aaa = FakeAaa()
    world = World(keys={MN_HA: KEY, MN_AAA: AAA_KEY}, aaa=aaa)
    updates = [world.update() for _ in range(70)]

    async def flood() -> None:
        await asyncio.gather(*(world.agent.learn(received(u), u, CARE_OF) for u in (updates[0], *updates)))

    asyncio.run(flood())
    assert len(aaa.questions) == 64


def test_an_update_that_aaa_cannot_judge_is_not_asked_about() -> None:
    aaa = FakeAaa()
    world = World(aaa=aaa)
    update = world.update()
    assert world.judge(update) is NO_PROOF
    asyncio.run(world.agent.learn(received(update), update, CARE_OF))
    assert aaa.questions == []
