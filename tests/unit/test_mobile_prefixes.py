"""Mobile prefix discovery: RFC 6275 sections 10.6 and 11.4."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

import pytest
from fakes import FakeIcmpSocket
from samples import chance, until, wait_for

from testbed.mip6 import prefix_advertiser, prefix_keeper
from testbed.mip6.mobile_prefixes import HomePrefixes, delivery_delay, next_solicitation
from testbed.mip6.ndisc import PrefixInformation, RouterAdvertisement
from testbed.mip6.ndlink import HeardRouter
from testbed.mip6.policy import HomePrefix
from testbed.mip6.prefix_advertiser import PrefixAdvertiser
from testbed.mip6.prefix_keeper import PrefixKeeper
from testbed.mip6.wire import MobilePrefixAdvertisement, MobilePrefixSolicitation, PrefixFlags, RouterFlags
from testbed.mip6.wire import PrefixInformation as Told

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NETWORK, NEW = IPv6Network("2001:db8:a::/64"), IPv6Network("2001:db8:b::/64")
HOME, AGENT, OTHER = (IPv6Address(f"2001:db8:a::{host}") for host in ("1001", "1", "2"))
OWN_LINK, OTHER_LINK = IPv6Address("fe80::1"), IPv6Address("fe80::2")
NOW = 1000.0
ENDLESS = 0xFFFFFFFF
FLAGS = PrefixFlags.ON_LINK | PrefixFlags.AUTONOMOUS
NOTHING = HomePrefixes({}, {})


def advertised(
    address: IPv6Address = AGENT, valid: int = 1800, preferred: int = 900, *, managed: bool = False, other: bool = False
) -> RouterAdvertisement:
    prefix = PrefixInformation(address, 64, valid, preferred, router_address=True)
    return RouterAdvertisement(managed=managed, other=other, lifetime=30, prefixes=(prefix,))


OWN = NOTHING.heard(OWN_LINK, advertised(), NOW, own=True)


def told(prefix: str, flags: PrefixFlags, valid: int, preferred: int) -> Told:
    return Told(IPv6Address(prefix), 64, flags, valid, preferred)


def test_lifetimes_are_what_is_left_of_them() -> None:
    flags = FLAGS | PrefixFlags.ROUTER_ADDRESS
    assert OWN.advertisement(7, NOW) == MobilePrefixAdvertisement(
        7, RouterFlags(0), (told("2001:db8:a::1", flags, 1800, 900),)
    )
    assert OWN.advertisement(7, NOW + 1000).prefixes == (told("2001:db8:a::1", flags, 800, 0),)
    endless = NOTHING.heard(OWN_LINK, advertised(valid=ENDLESS, preferred=ENDLESS), NOW, own=True)
    assert endless.advertisement(7, NOW + 1e6).prefixes == (told("2001:db8:a::1", flags, ENDLESS, ENDLESS),)


def test_the_address_of_another_home_agent_is_not_told() -> None:
    known = NOTHING.heard(OTHER_LINK, advertised(OTHER), NOW, own=False)
    assert known.advertisement(7, NOW).prefixes == (told("2001:db8:a::", FLAGS, 1800, 900),)


def test_what_the_home_agent_advertises_itself_counts() -> None:
    known = OWN.heard(OTHER_LINK, advertised(OTHER, valid=1), NOW, own=False)
    assert known.advertisement(7, NOW).prefixes == OWN.advertisement(7, NOW).prefixes
    known = NOTHING.heard(OTHER_LINK, advertised(OTHER, valid=1, preferred=1), NOW, own=False)
    known = known.heard(OWN_LINK, advertised(), NOW, own=True)
    assert known.advertisement(7, NOW).prefixes == OWN.advertisement(7, NOW).prefixes


def test_flags_of_any_router_are_told_6275_10_6_3() -> None:
    known = OWN.heard(OTHER_LINK, advertised(OTHER, managed=True), NOW, own=False)
    known = known.heard(OWN_LINK, advertised(other=True), NOW, own=True)
    assert known.advertisement(7, NOW).flags == RouterFlags.MANAGED | RouterFlags.OTHER
    known = known.heard(OTHER_LINK, advertised(OTHER), NOW, own=False)
    assert known.advertisement(7, NOW).flags == RouterFlags.OTHER


@pytest.mark.parametrize(
    ("advertisement", "differs"),
    [
        (advertised(), False),
        (advertised(valid=1801), True),
        (advertised(preferred=0), True),
        (advertised(IPv6Address("2001:db8:b::1")), True),
    ],
    ids=["6275-10.6.2-time-advances", "6275-10.6.2-valid", "6275-10.6.2-preferred", "6275-10.6.2-new-prefix"],
)
def test_what_has_to_be_told(advertisement: RouterAdvertisement, differs: bool) -> None:
    assert OWN.heard(OWN_LINK, advertisement, NOW + 5, own=True).differs(OWN, HOME) is differs


def test_a_change_of_another_prefix_is_not_told() -> None:
    two = OWN.heard(OWN_LINK, advertised(IPv6Address("2001:db8:b::1")), NOW, own=True)
    changed = two.heard(OWN_LINK, advertised(IPv6Address("2001:db8:b::1"), valid=900), NOW, own=True)
    assert not changed.differs(two, HOME)


def test_bindings_depend_on_the_lifetimes() -> None:
    assert OWN.home_prefixes() == (HomePrefix(NETWORK, NOW + 1800, NOW + 900),)
    endless = NOTHING.heard(OWN_LINK, advertised(valid=ENDLESS), NOW, own=True)
    assert endless.home_prefixes() == (HomePrefix(NETWORK, math.inf, NOW + 900),)


@pytest.mark.parametrize(
    ("interval", "preferred", "between"),
    [
        ((600, 86_400), 1e9, (600, 86_400)),
        ((600, 86_400), 1200, (600, 1200)),
        ((600, 86_400), 60, (60, 60)),
        ((600, 86_400), 0, (0, 0)),
        ((0.05, 0.1), 14400, (0.05, 0.1)),
    ],
)
def test_delay_6275_10_6_2(interval: tuple[float, float], preferred: float, between: tuple[float, float]) -> None:
    drawn = [delivery_delay(*interval, preferred, chance(seed)) for seed in range(200)]
    assert between[0] <= min(drawn) <= max(drawn) <= between[1]


@pytest.mark.parametrize(
    ("prefixes", "seconds"),
    [
        ((told("2001:db8:a::1", FLAGS, 1800, 900),), 675),
        ((told("2001:db8:a::1", FLAGS, 1800, 0),), 1350),
        ((told("2001:db8:a::", FLAGS, 1, 1),), 1),
        ((told("2001:db8:b::", FLAGS, 90, 90), told("2001:db8:a::", FLAGS, ENDLESS, ENDLESS)), math.inf),
        ((told("2001:db8:a::", FLAGS, 0, 0),), None),
        ((told("2001:db8:b::", FLAGS, 1800, 900),), None),
        ((), None),
    ],
    ids=["preferred", "deprecated", "soon", "endless", "invalid", "another", "none"],
)
def test_when_a_mobile_node_asks_again_6275_11_4_2(prefixes: tuple[Told, ...], seconds: float | None) -> None:
    assert next_solicitation(MobilePrefixAdvertisement(1, RouterFlags(0), prefixes), HOME) == seconds


# The mobile node.


class Keeping:
    """A keeper and what it told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.keeper = PrefixKeeper(chance(1), lambda: self.told.append("known"), lambda: self.told.append("lost"))

    @property
    def link(self) -> FakeIcmpSocket:
        return FakeIcmpSocket.opened[-1]

    @property
    def asked(self) -> list[int]:
        return [message.identifier for message, _, _ in self.link.sent if isinstance(message, MobilePrefixSolicitation)]

    def answer(self, identifier: int, prefix: str = "2001:db8:a::", source: IPv6Address = AGENT) -> None:
        message = MobilePrefixAdvertisement(identifier, RouterFlags(0), (told(prefix, FLAGS, 1800, 900),))
        self.link.hear(message, source, HOME)


def kept(scene: Callable[[Keeping], Coroutine[None, None, None]], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(prefix_keeper, "IcmpSocket", FakeIcmpSocket)
        keeping = Keeping()
        keeping.keeper.open(HOME, AGENT)
        await scene(keeping)
        keeping.keeper.close()
        assert not keeping.link.is_open

    wait_for(scenario())


def test_an_answer_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(keeping: Keeping) -> None:
        keeping.keeper.solicit()
        keeping.keeper.solicit()  # one is under way
        ((message, source, destination),) = keeping.link.sent
        assert (source, destination) == (HOME, AGENT)
        keeping.answer(keeping.asked[0], source=OTHER)
        assert keeping.told == []
        keeping.answer(keeping.asked[0])
        assert keeping.told == ["known"]
        keeping.answer(keeping.asked[0])  # its identifier is used up: unsolicited
        assert keeping.told == ["known"]
        assert len(keeping.asked) == 2
        assert message != keeping.link.sent[1][0]

    kept(scene, monkeypatch)


def test_what_was_not_asked_for_makes_it_ask_6275_11_4_3(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(keeping: Keeping) -> None:
        keeping.answer(0, "2001:db8:b::")
        assert keeping.told == []
        assert len(keeping.asked) == 1
        keeping.answer(keeping.asked[0], "2001:db8:b::")
        assert keeping.told == ["lost"]

    kept(scene, monkeypatch)


def test_a_solicitation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(keeping: Keeping) -> None:
        keeping.keeper.solicit()
        await until(lambda: len(keeping.asked) >= 3)
        assert len(set(keeping.asked)) == 1
        keeping.answer(keeping.asked[0])

    monkeypatch.setattr(prefix_keeper, "INITIAL_SOLICIT_TIMER", 0.01)
    kept(scene, monkeypatch)


# The home agent.


class Advertising:
    """An advertiser and what it told."""

    def __init__(self, interval: tuple[float, float]) -> None:
        self.bound = [HOME]
        self.changes: list[tuple[HomePrefix, ...]] = []
        self.advertiser = PrefixAdvertiser(AGENT, interval, lambda: self.bound, self.changes.append, chance(1))

    @property
    def link(self) -> FakeIcmpSocket:
        return FakeIcmpSocket.opened[-1]

    @property
    def told(self) -> list[int]:
        return [m.identifier for m, _, _ in self.link.sent if isinstance(m, MobilePrefixAdvertisement)]

    def hear(self, advertisement: RouterAdvertisement) -> None:
        self.advertiser.heard(HeardRouter(OWN_LINK, advertisement), own=True)

    def ask(self, identifier: int, source: IPv6Address = HOME, destination: IPv6Address = AGENT) -> None:
        self.link.hear(MobilePrefixSolicitation(identifier), source, destination)


def advertise(
    scene: Callable[[Advertising], Coroutine[None, None, None]],
    monkeypatch: pytest.MonkeyPatch,
    interval: float = 0.001,
    timeout: float = 0.001,
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(prefix_advertiser, "IcmpSocket", FakeIcmpSocket)
        monkeypatch.setattr(prefix_advertiser, "PREFIX_ADV_TIMEOUT", timeout)
        advertising = Advertising((interval, 2 * interval))
        number = len(FakeIcmpSocket.opened)
        task = asyncio.get_running_loop().create_task(advertising.advertiser.run())
        await until(lambda: len(FakeIcmpSocket.opened) > number)
        await scene(advertising)
        task.cancel()

    wait_for(scenario())


def test_who_asks_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(advertising: Advertising) -> None:
        advertising.ask(7)
        assert advertising.told == []  # nothing is known yet
        advertising.bound = []
        advertising.hear(advertised())
        advertising.ask(7)
        assert advertising.told == []  # nor is this mobile node
        advertising.bound = [HOME]
        advertising.ask(7, destination=OTHER)
        advertising.ask(7)
        assert [(m, source, destination) for m, source, destination in advertising.link.sent] == [
            (replace(OWN.advertisement(7, NOW), prefixes=(advertising.link.sent[0][0].prefixes)), AGENT, HOME)  # type: ignore[union-attr]
        ]
        assert advertising.changes[-1][0].network == NETWORK

    advertise(scene, monkeypatch)


def test_a_change_is_told_until_the_mobile_node_asks_6275_10_6_2(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(advertising: Advertising) -> None:
        advertising.hear(advertised())
        await until(lambda: advertising.told[:1] == [0])
        advertising.ask(9)
        assert advertising.told == [0, 9]
        await asyncio.sleep(0.01)
        advertising.hear(advertised())
        await asyncio.sleep(0.01)
        assert advertising.told == [0, 9]  # nothing changed

    advertise(scene, monkeypatch, timeout=60)


def test_a_silent_mobile_node_is_told_four_times(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(advertising: Advertising) -> None:
        advertising.hear(advertised())
        await until(lambda: advertising.advertiser._deliveries == {})
        assert advertising.told == [0, 0, 0, 0]

    advertise(scene, monkeypatch)


def test_whose_binding_ended_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(advertising: Advertising) -> None:
        advertising.hear(advertised())
        await until(lambda: advertising.told)
        advertising.bound = []
        await until(lambda: advertising.advertiser._deliveries == {})
        assert advertising.told == [0]

    advertise(scene, monkeypatch, timeout=0.05)
