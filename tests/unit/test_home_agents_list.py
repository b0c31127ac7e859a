"""The home agents list: RFC 6275 section 10.5.1, RFC 2526."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, IPv6Network

import pytest
from samples import chance

from testbed.mip6.home_agents_list import HomeAgentsList, home_agents_anycast
from testbed.mip6.ndisc import HomeAgentInformation, PrefixInformation, RouterAdvertisement

OWN, OTHER, THIRD = (IPv6Address(f"2001:db8:a::{host}") for host in (1, 2, 3))
LINK, LINK3 = IPv6Address("fe80::2"), IPv6Address("fe80::3")
NOW = 1000.0
ALONE = HomeAgentsList.of(OWN, 10)


def advertisement(
    address: IPv6Address = OTHER,
    information: HomeAgentInformation | None = None,
    *,
    home_agent: bool = True,
    router_address: bool = True,
    lifetime: int = 30,
) -> RouterAdvertisement:
    prefix = PrefixInformation(address, 64, 1800, 900, router_address=router_address)
    return RouterAdvertisement(
        home_agent=home_agent, lifetime=lifetime, prefixes=(prefix,), home_agent_information=information
    )


def listed(known: HomeAgentsList, now: float = NOW, seed: int = 0) -> list[IPv6Address]:
    return list(known.addresses(now, chance(seed)))


@pytest.mark.parametrize(
    ("prefix", "anycast"),
    [
        ("2001:db8:a::/64", "2001:db8:a:0:fdff:ffff:ffff:fffe"),
        ("2001:db8:a::/48", "2001:db8:a:ffff:ffff:ffff:ffff:fffe"),
        ("2001:db8:a::/112", "2001:db8:a::fffe"),
    ],
    ids=["2526-2-eui64", "2526-2-shorter", "2526-2-longer"],
)
def test_anycast(prefix: str, anycast: str) -> None:
    assert home_agents_anycast(IPv6Network(prefix)) == IPv6Address(anycast)


def test_it_lists_itself() -> None:
    assert listed(ALONE) == [OWN]
    assert listed(ALONE, now=1e12) == [OWN]


@pytest.mark.parametrize(
    ("information", "order"),
    [
        (HomeAgentInformation(11, 1800), [OTHER, OWN]),
        (HomeAgentInformation(9, 1800), [OWN, OTHER]),
        (None, [OWN, OTHER]),
    ],
    ids=["6275-10.5.1-preferred", "6275-10.5.1-less-preferred", "6275-10.5.1-default-preference-0"],
)
def test_order(information: HomeAgentInformation | None, order: list[IPv6Address]) -> None:
    assert listed(ALONE.heard(LINK, advertisement(information=information), NOW)) == order


def test_equals_are_in_random_order() -> None:
    known = ALONE.heard(LINK, advertisement(information=HomeAgentInformation(10, 1800)), NOW)
    rng = chance(6275)
    first = Counter(known.addresses(NOW, rng)[0] for _ in range(1000))
    assert first[OWN] == pytest.approx(500, abs=80)
    assert first[OTHER] == 1000 - first[OWN]


def test_addresses_of_one_home_agent_are_in_random_order_and_together() -> None:
    low = HomeAgentInformation(1, 1800)
    known = ALONE.heard(LINK, advertisement(information=low), NOW).heard(LINK, advertisement(THIRD, low), NOW)
    orders = {tuple(listed(known, seed=seed)) for seed in range(50)}
    assert orders == {(OWN, OTHER, THIRD), (OWN, THIRD, OTHER)}


def test_without_the_h_bit_it_is_deleted() -> None:
    known = ALONE.heard(LINK, advertisement(), NOW)
    assert listed(known.heard(LINK, advertisement(home_agent=False), NOW)) == [OWN]
    assert listed(ALONE.heard(LINK, advertisement(home_agent=False), NOW)) == [OWN]


@pytest.mark.parametrize(
    ("message", "lifetime"),
    [
        (advertisement(information=HomeAgentInformation(0, 7)), 7),
        (advertisement(lifetime=30), 30),
    ],
    ids=["6275-10.5.1-of-the-option", "6275-10.5.1-router-lifetime"],
)
def test_lifetime(message: RouterAdvertisement, lifetime: float) -> None:
    known = ALONE.heard(LINK, message, NOW)
    assert listed(known, NOW + lifetime - 0.1) == [OWN, OTHER]
    assert listed(known, NOW + lifetime) == [OWN]
    assert known.current(NOW + lifetime).others == {}


def test_lifetime_0_deletes_at_once() -> None:
    known = ALONE.heard(LINK, advertisement(), NOW)
    gone = advertisement(information=HomeAgentInformation(99, 0))
    assert listed(known.heard(LINK, gone, NOW)) == listed(ALONE.heard(LINK, gone, NOW)) == [OWN]


def test_lifetime_and_preference_are_reset_and_addresses_added() -> None:
    known = ALONE.heard(LINK, advertisement(information=HomeAgentInformation(1, 10)), NOW)
    known = known.heard(LINK, advertisement(THIRD, HomeAgentInformation(20, 10)), NOW + 9)
    assert set(listed(known, NOW + 15)[:2]) == {OTHER, THIRD}
    assert listed(known, NOW + 15)[2] == OWN


def test_a_prefix_without_the_r_bit_is_no_address() -> None:
    assert listed(ALONE.heard(LINK, advertisement(router_address=False), NOW)) == [OWN]


def test_a_reply_fits_the_minimum_mtu_and_keeps_the_preferred() -> None:
    known = ALONE
    for number in range(200):
        address = IPv6Address(f"2001:db8:a::1:{number:x}")
        information = HomeAgentInformation(1000 + number, 1800)
        known = known.heard(IPv6Address(int(LINK3) + number), advertisement(address, information), NOW)
    found = listed(known)
    assert 40 + 8 + 16 * len(found) <= 1280 < 40 + 8 + 16 * (len(found) + 1)
    assert found == [IPv6Address(f"2001:db8:a::1:{number:x}") for number in range(199, 199 - len(found), -1)]
