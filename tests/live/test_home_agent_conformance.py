"""RFC 6275, case by case, against the running home agent: the table of ``rfc6275_cases`` in clear.

Protection ``none`` puts Home Address options and type 2 routing headers on the wire, where a foreign host can send and
see all of them. A Binding Update whose answer is known is sent after each that should be met with silence, so that no
test waits for a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import rfc6275_cases as cases
from lab import needs_root
from stranger import NUMBERS, Stranger, Tunnelled, beside_a_home_agent, in_a_tunnel

from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, needs_root]


def applies(case: cases.Case) -> bool:
    """Whether a case can be sent through a tunnel, and has the same answer there.

    The kernel makes checksums right, a tunnel proves one home address, leads to one care-of address, and has no Home
    Address option to be named in a Binding Error.
    """
    return case.before in (None, cases.Place.HERE) and all(
        update.home is cases.Place.MINE
        and update.alternate in (None, cases.Place.HERE, cases.Place.MINE)
        and not update.spoil
        and not isinstance(answer, cases.Failure)
        for update, answer in case.steps
    )


@pytest.fixture(scope="module")
def tester(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    with beside_a_home_agent(tmp_path_factory.mktemp("rfc")) as stranger:
        yield stranger


@pytest.fixture(scope="module")
def tunnelled() -> Iterator[Tunnelled]:
    with in_a_tunnel() as driver:
        yield driver


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.section}: {case.name}") for case in cases.cases()])
def test_the_home_agent_answers_as_the_rfc_demands(tester: Stranger, case: cases.Case) -> None:
    judge(tester, case)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.section}: {case.name}") for case in cases.cases() if applies(case)]
)
def test_it_answers_the_same_through_a_tunnel(tunnelled: Tunnelled, case: cases.Case) -> None:
    judge(tunnelled, case)


def test_a_home_address_that_somebody_on_the_home_link_has_is_refused(tester: Stranger) -> None:
    """RFC 6275 section 10.3.1: Duplicate Address Detection on the home link."""
    tester.bring_to(None)
    tester.own("add")
    try:
        answer = tester.answer(cases.Update())
        assert answer == cases.Ack(wire.BindingStatus.DUPLICATE_ADDRESS_DETECTION_FAILED, 0)
        assert tester.bound() is None
    finally:
        tester.own("del")
    assert tester.answer(cases.Update()) == cases.ACCEPTED


def judge(tester: Stranger, case: cases.Case) -> None:
    """Play a case from its beginning, and compare."""
    tester.bring_to(case.before)
    for number, (update, expected) in enumerate(case.steps):
        sent = (tester.last + update.advance) % (NUMBERS)
        if isinstance(expected, cases.Silence):
            assert tester.silent(update) == [], f"step {number}, RFC 6275 section {case.section}"
            continue
        before = tester.last
        answer = tester.answer(update)
        assert answer == expected, f"step {number}, RFC 6275 section {case.section}"
        if isinstance(expected, cases.Ack):
            assert tester.last == (before if expected.last else sent)
    expected_binding = None if case.after is None else tester.address(case.after)
    assert tester.bound() == expected_binding
