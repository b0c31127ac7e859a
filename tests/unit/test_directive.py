"""Orders of a home agent, sent until they are followed: RFC 5142 section 5.2, RFC 5846 section 7.3."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from testbed.mip6.directive import Directive, Order, issue, next_transmission
from testbed.mip6.wire import BindingRevocation, HomeAgentSwitch

SWITCH = HomeAgentSwitch((IPv6Address("2001:db8:a::2"),))
REVOCATION = BindingRevocation(1, 1, 7)
NOW = 1000.0


def sent_at(order: Order, until: float) -> list[float]:
    """Play an order that nobody follows: when it is sent, after the start."""
    times: list[float] = []
    current: Directive | None = issue(order, NOW)
    while current is not None and current.due <= NOW + until:
        due = current.due
        current = next_transmission(current, due)
        if current is not None:
            assert current.sent == due
            times.append(due - NOW)
    return times


def test_a_switch_is_repeated_for_ever_5142_5_2() -> None:
    assert sent_at(SWITCH, 100) == [0, 5, 15, 35, 55, 75, 95]


def test_a_revocation_is_given_up_5846_12() -> None:
    assert sent_at(REVOCATION, 100) == [0, 1]
    last = issue(REVOCATION, NOW)
    for due in (NOW, NOW + 1):
        following = next_transmission(last, due)
        assert following is not None
        last = following
    assert last.due == NOW + 3
    assert next_transmission(last, last.due) is None


@pytest.mark.parametrize(
    ("later", "due"), [(0.3, NOW + 1), (1.5, NOW + 1.5)], ids=["5142-8-too-soon", "5142-8-late-enough"]
)
def test_not_more_than_one_switch_a_second(later: float, due: float) -> None:
    first = next_transmission(issue(SWITCH, NOW), NOW)
    again = issue(HomeAgentSwitch(), NOW + later, first)
    assert again.due == due
    assert again.order == HomeAgentSwitch()
    assert again.times == 0


def test_an_order_that_was_not_sent_yet_is_replaced_at_once() -> None:
    assert issue(REVOCATION, NOW + 0.1, issue(SWITCH, NOW)).due == NOW + 0.1
