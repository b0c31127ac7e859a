"""Who may use which home address: RFC 5026 section 9.2."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from testbed.mip6.authorization import Ownership

OURS, THEIRS, FREE, AGENT = (IPv6Address(f"2001:db8:a::{host}") for host in (7, 8, 9, 1))
CONFIGURED = Ownership({OURS: "mn"}, first_come=False)
MIXED = Ownership({OURS: "mn"}, {THEIRS: "other"}, reserved=frozenset({AGENT}))


@pytest.mark.parametrize(
    ("ownership", "identity", "address", "allowed"),
    [
        (CONFIGURED, "mn", OURS, True),
        (CONFIGURED, "other", OURS, False),
        (CONFIGURED, "mn", FREE, False),
        (MIXED, "mn", OURS, True),
        (MIXED, "other", OURS, False),
        (MIXED, "other", THEIRS, True),
        (MIXED, "mn", THEIRS, False),
        (MIXED, "mn", FREE, True),
        (MIXED, "other", FREE, True),
        (MIXED, "mn", AGENT, False),
    ],
    ids=[
        "5026-9.2-configured",
        "5026-9.2-configured-for-another",
        "5026-9.2-not-configured",
        "5026-9.2-mixed-configured",
        "5026-9.2-mixed-configured-for-another",
        "5026-9.2-claimed",
        "5026-9.2-claimed-by-another",
        "5026-9.2-first-come",
        "5026-9.2-first-come-other",
        "5026-9.2-home-agents-own",
    ],
)
def test_allows(ownership: Ownership, identity: str, address: IPv6Address, allowed: bool) -> None:
    assert ownership.allows(identity, address) is allowed


def test_the_first_keeps_it_until_released() -> None:
    taken = MIXED.claim("mn", FREE)
    assert taken.allows("mn", FREE)
    assert not taken.allows("other", FREE)
    assert taken.release(FREE) == MIXED
    assert MIXED.claimed == {THEIRS: "other"}


def test_addresses_to_offer() -> None:
    taken = MIXED.claim("mn", FREE).claim("mn", OURS)
    assert taken.addresses("mn") == (OURS, FREE)
    assert taken.addresses("other") == (THEIRS,)
    assert taken.addresses("nobody") == ()
