"""The mobile node's Binding Update List entry; each case names the RFC and the section that it comes from."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from testbed.mip6.registration import (
    Action,
    Confirmed,
    Deregistered,
    Deregistering,
    Failed,
    Idle,
    Ignore,
    Lapsed,
    Pursue,
    Registered,
    Registering,
    Remedy,
    State,
    Step,
    acknowledgement,
    deadline,
    deregister,
    error,
    home_returned,
    moved,
    prefixes_known,
    refresh_request,
    register,
    revoked,
    start,
    timeout,
)
from testbed.mip6.retransmission import Binding, Exchange, SendUpdate, Timing
from testbed.mip6.wire import (
    AckFlags,
    BindingAcknowledgement,
    BindingFlags,
    BindingRefreshAdvice,
    BindingStatus,
)

HOME = IPv6Address("2001:db8:a::7")
CARE_OF = IPv6Address("2001:db8:c::7")
MOVED = IPv6Address("2001:db8:d::7")
AGENT = IPv6Address("2001:db8:a::1")
TIMING = Timing()
BINDING = Binding(HOME, CARE_OF, AGENT, 100)
A, H, L, K = BindingFlags.A, BindingFlags.H, BindingFlags.L, BindingFlags.K
NOW = 1000.0

REGISTERING = register(start(6), BINDING, TIMING, NOW).state  # update 7 is out
REGISTERED = Registered(Exchange(7, (NOW,)), BINDING, NOW + 400, NOW + 337, prefixes_unknown=False)
UNKNOWN = replace(REGISTERED, prefixes_unknown=True)
REFRESHING = timeout(REGISTERED, TIMING, NOW + 337).state  # update 8 is out
DELETING = deregister(REGISTERED, TIMING, NOW + 10).state  # update 8 is out
AT_HOME = home_returned(REGISTERED, TIMING, NOW + 10).state  # update 8 is out
FAILED = Failed(Exchange(7, (NOW,)), Remedy.STOP, 128)
EVERY: list[State] = [start(6), REGISTERING, REGISTERED, UNKNOWN, REFRESHING, DELETING, AT_HOME, FAILED]
STATES = pytest.mark.parametrize("state", EVERY, ids=lambda state: type(state).__name__)


def answer(
    sequence: int = 7, status: int = 0, lifetime_units: int = 100, advice: int | None = None
) -> BindingAcknowledgement:
    options = () if advice is None else (BindingRefreshAdvice(advice),)
    return BindingAcknowledgement(status, AckFlags(0), sequence, lifetime_units, options)


def take(state: State, message: BindingAcknowledgement, now: float = NOW + 1) -> Step:
    return acknowledgement(state, message, True, TIMING, now)


def updates(step: Step) -> list[SendUpdate]:
    return [action for action in step.actions if isinstance(action, SendUpdate)]


def sent(step: Step) -> SendUpdate:
    (update,) = updates(step)
    return update


def ignored(step: Step, state: State) -> None:
    assert step.state is state
    (action,) = step.actions
    assert isinstance(action, Ignore)


# What goes out


def test_first_registration_6275_11_7_1() -> None:
    step = register(start(6), BINDING, TIMING, NOW)
    assert step.actions == (SendUpdate(7, A | H, 100, HOME, CARE_OF, AGENT),)
    assert deadline(step.state) == NOW + 1.5


@pytest.mark.parametrize(
    ("binding", "flags"),
    [
        (replace(BINDING, link_local=True), A | H | L),
        (replace(BINDING, key_mobility=True), A | H | K),
        (replace(BINDING, link_local=True, key_mobility=True), A | H | L | K),
    ],
    ids=["6275-6.1.7-L", "6275-6.1.7-K", "6275-6.1.7-LK"],
)
def test_flags(binding: Binding, flags: BindingFlags) -> None:
    assert sent(register(start(6), binding, TIMING, NOW)).flags == flags


def test_sequence_numbers_wrap_6275_6_1_7() -> None:
    assert sent(register(start(65535), BINDING, TIMING, NOW)).sequence == 0


def test_a_registration_backs_off_and_then_wants_another_home_agent_6275_11_7_1() -> None:
    step, now = Step(REGISTERING), NOW
    waits, numbers = [], []
    while (due := deadline(step.state)) is not None:
        waits.append(due - now)
        now = due
        step = timeout(step.state, TIMING, now)
        numbers += [update.sequence for update in updates(step)]
    assert waits == [1.5, 3, 6, 12, 24, 32]
    assert numbers == [8, 9, 10, 11, 12]
    assert step == Step(step.state, (Pursue(Remedy.NEXT_HOME_AGENT, None),))
    assert isinstance(step.state, Failed)


def test_a_refresh_backs_off_until_its_binding_lapses_6275_11_8() -> None:
    state: State = REGISTERED
    seen: list[tuple[float, Action]] = []
    while (due := deadline(state)) is not None:
        step = timeout(state, TIMING, due)
        state = step.state
        seen += [(due - NOW, action) for action in step.actions if not isinstance(action, SendUpdate)]
        seen += [(due - NOW, update.sequence) for update in updates(step)]  # type: ignore[misc]
    assert seen == [
        (337, 8),
        (338, 9),
        (340, 10),
        (344, 11),
        (352, 12),
        (368, 13),
        (400, Lapsed(HOME)),
        (400, Pursue(Remedy.NEXT_HOME_AGENT, None)),
    ]
    assert TIMING.patience == 63


def test_a_lapse_between_two_retransmissions_6275_11_1() -> None:
    state = moved(replace(REGISTERED, expires=NOW + 12.5), MOVED, TIMING, NOW + 10).state
    state = timeout(state, TIMING, NOW + 11).state
    assert deadline(state) == NOW + 12.5
    step = timeout(state, TIMING, NOW + 12.5)
    assert step.actions == (Lapsed(HOME),)
    assert deadline(step.state) == NOW + 13


def test_the_only_home_agent_is_tried_without_end_6275_11_7_1() -> None:
    state = register(start(6), replace(BINDING, only_home_agent=True), TIMING, NOW).state
    waits, now = [], NOW
    for _ in range(9):
        due = deadline(state)
        assert due is not None
        waits.append(due - now)
        now = due
        state = timeout(state, TIMING, now).state
    assert waits == [1.5, 3, 6, 12, 24, 32, 32, 32, 32]


@STATES
def test_nothing_is_due_early(state: State) -> None:
    due = deadline(state)
    assert timeout(state, TIMING, NOW if due is None else due - 0.001) == Step(state)


def test_three_updates_in_a_second_6275_11_8() -> None:
    step = Step(REGISTERING)
    times = [NOW]
    for tenth in range(1, 10):
        care_of = IPv6Address(int(CARE_OF) + tenth)
        step = moved(step.state, care_of, TIMING, NOW + tenth / 10)
        times += [NOW + tenth / 10] * len(updates(step))
    assert times == [NOW, NOW + 0.1, NOW + 0.2]
    assert deadline(step.state) == NOW + 1
    ignored(take(step.state, answer(9), NOW + 0.95), step.state)  # it confirms a care-of address left already
    step = timeout(step.state, TIMING, NOW + 1)
    assert sent(step).care_of == IPv6Address(int(CARE_OF) + 9)
    assert sent(step).sequence == 10
    assert deadline(step.state) == NOW + 2.5  # the rate limit is no lost answer: nothing was doubled


# What comes back


def test_confirmation_6275_11_7_3() -> None:
    step = take(REGISTERING, answer())
    assert step.state == REGISTERED
    assert step.actions == (Confirmed(BINDING, NOW + 400, NOW + 337, key_mobility=False),)
    assert deadline(step.state) == NOW + 337


def test_the_key_management_may_move_6275_11_7_3() -> None:
    step = take(REGISTERING, replace(answer(), flags=AckFlags.K))
    assert isinstance(step.actions[0], Confirmed)
    assert step.actions[0].key_mobility


LIFETIMES = [  # granted, advised, when the answer comes; expires, refresh at
    ("6275-11.7.3-less", 50, None, 1, 200, 137),
    ("6275-11.7.3-more-is-capped", 5000, None, 1, 400, 337),
    ("6275-11.7.3-from-sending-on", 10, None, 20, 40, 20),
    ("6275-11.7.3-short", 20, None, 1, 80, 40),
    ("6275-11.7.3-shortest", 1, None, 1, 4, 2),
    ("6275-11.7.3-advice", 100, 10, 1, 400, 40),
    ("6275-11.7.3-advice-later-than-ours", 100, 99, 1, 400, 337),
    ("6275-6.2.4-advice-of-nothing", 100, 0, 1, 400, 337),
]


@pytest.mark.parametrize("case", [case[1:] for case in LIFETIMES], ids=[case[0] for case in LIFETIMES])
def test_lifetimes(case: tuple[int, int | None, int, int, int]) -> None:
    granted, advice, came, expires, refresh_at = case
    step = take(REGISTERING, answer(lifetime_units=granted, advice=advice), NOW + came)
    assert isinstance(step.state, Registered)
    assert (step.state.expires, step.state.refresh_at) == (NOW + expires, NOW + refresh_at)
    left, asked = 400 - came, 400
    assert step.state.expires - (NOW + came) == max(left - (asked - min(4 * granted, asked)), 0)


def test_an_answer_after_the_granted_lifetime_is_none_6275_11_7_3() -> None:
    ignored(take(REGISTERING, answer(lifetime_units=1), NOW + 4), REGISTERING)


def test_accepted_for_no_time_is_no_binding_6275_11_7_3() -> None:
    step = take(REGISTERING, answer(lifetime_units=0))
    assert isinstance(step.state, Failed)
    assert step.actions == (Pursue(Remedy.NEXT_HOME_AGENT, 0),)


def test_prefix_discovery_is_asked_for_and_forbids_to_refresh_6275_11_7_1() -> None:
    step = take(REGISTERING, answer(status=1))
    assert step.state == UNKNOWN
    assert step.actions[1:] == (Pursue(Remedy.PREFIX_DISCOVERY, 1),)
    assert deadline(step.state) == NOW + 400
    known = prefixes_known(step.state)
    assert known == Step(REGISTERED)
    assert deadline(known.state) == NOW + 337
    assert prefixes_known(REGISTERING) == Step(REGISTERING)


def test_without_prefix_discovery_the_binding_ends_6275_11_7_1() -> None:
    step = timeout(UNKNOWN, TIMING, NOW + 400)
    assert isinstance(step.state, Failed)
    assert step.actions == (Lapsed(HOME), Pursue(Remedy.REDISCOVER, None))


REMEDIES = [
    ("6275-11.7.3", 128, Remedy.STOP),
    ("5142-5.2", 129, Remedy.NEXT_HOME_AGENT),
    ("6275-10.3.1", 130, Remedy.NEXT_HOME_AGENT),
    ("6275-10.3.1", 131, Remedy.NEXT_HOME_AGENT),
    ("6275-10.3.1", 132, Remedy.REDISCOVER),
    ("6275-10.3.2", 133, Remedy.REDISCOVER),
    ("6275-11.7.1", 134, Remedy.NEW_HOME_ADDRESS),
    ("6275-9.5.1", 139, Remedy.STOP),
    ("4285-6", 145, Remedy.STOP),
    ("4285-5.3", 146, Remedy.STOP),
    ("5149-4.1", 151, Remedy.STOP),
    ("6275-6.1.8", 174, Remedy.NEW_CARE_OF_ADDRESS),
    ("6275-6.1.8-no-name", 255, Remedy.STOP),
]


@pytest.mark.parametrize(
    ("status", "remedy"), [case[1:] for case in REMEDIES], ids=[f"{case[0]}-{case[1]}" for case in REMEDIES]
)
def test_refusals(status: int, remedy: Remedy) -> None:
    step = take(REGISTERING, answer(status=status))
    assert step.state == Failed(Exchange(7, (NOW,)), remedy, status)
    assert step.actions == (Pursue(remedy, status),)
    step = take(REFRESHING, answer(8, status))
    assert step.actions == (Lapsed(HOME), Pursue(remedy, status))


@STATES
def test_an_answer_to_no_outstanding_update_is_ignored_6275_11_7_3(state: State) -> None:
    for status in (0, 1, 128, 134):
        ignored(take(state, answer(6, status)), state)


@STATES
@pytest.mark.parametrize("status", [0, 134, 135], ids=lambda status: f"6275-11.7.3-{status}")
def test_a_forged_answer_is_ignored(state: State, status: int) -> None:
    outstanding = state.exchange.outstanding or 9
    forged = answer(outstanding, status)
    ignored(acknowledgement(state, forged, False, TIMING, NOW + 1), state)


# 135


def test_the_home_agents_sequence_number_is_adopted_and_used_at_once_6275_11_7_1() -> None:
    step = take(REGISTERING, answer(30000, 135))
    assert sent(step).sequence == 30001
    ignored(take(step.state, answer(30000, 135)), step.state)  # a duplicate
    assert isinstance(take(step.state, answer(30001)).state, Registered)


def test_a_duplicated_update_is_no_reason_to_stop_6275_9_5_1() -> None:
    assert sent(take(REGISTERING, answer(7, 135))).sequence == 8


def test_a_refused_deletion_is_sent_again_6275_11_7_1() -> None:
    assert sent(take(DELETING, answer(30000, 135))) == SendUpdate(30001, A | H, 0, HOME, CARE_OF, AGENT)


def test_resynchronisation_has_an_end_6275_11_8() -> None:
    step = Step(REGISTERING)
    count = 0
    for turn in range(20):
        last = (step.state.exchange.sequence + 1000) % 65536
        step = take(step.state, answer(last, 135), NOW + turn / 100)
        count += len(updates(step))
        assert step.state.exchange.sequence in {last, last + 1}
    assert count == 2  # and no third: MAX_UPDATE_RATE
    due = deadline(step.state)
    assert due == NOW + 1
    slow = Timing(update_rate=100)
    step, count = Step(REGISTERING), 0
    for _ in range(20):
        last = (step.state.exchange.sequence + 1000) % 65536
        step = acknowledgement(step.state, answer(last, 135), True, slow, NOW + 1)
        count += len(updates(step))
    assert count == slow.immediate_retries
    step = timeout(step.state, slow, NOW + 2.5)
    assert sent(step).sequence == (last + 1) % 65536
    assert deadline(step.state) == NOW + 5.5


def test_only_a_later_number_counts_once_registered_6275_11_7_3() -> None:
    step = take(REGISTERED, answer(9, 135))
    assert step == Step(replace(REGISTERED, exchange=replace(REGISTERED.exchange, sequence=9)))
    assert take(REGISTERED, answer(7, 135)) == Step(REGISTERED)
    ignored(take(REGISTERED, answer(6, 135)), REGISTERED)
    ignored(take(FAILED, answer(9, 135)), FAILED)


@pytest.mark.parametrize("state", [REGISTERING, DELETING], ids=["4285-6-registering", "4285-6-deregistering"])
def test_a_wrong_timestamp_is_corrected_at_once_and_not_for_ever(state: State) -> None:
    timing = Timing(update_rate=100)
    step, count = Step(state), 0
    while isinstance(step.state, Registering | Deregistering):
        number = step.state.exchange.sequence
        step = acknowledgement(step.state, answer(number, 144), True, timing, NOW + 11)
        count += len(updates(step))
    assert count == timing.immediate_retries
    ends = {
        Registering: (Pursue(Remedy.STOP, 144),),
        Deregistering: (Deregistered(HOME, confirmed=False),),
    }
    assert step.actions == ends[type(state)]


# Movement


def test_movement_6275_11_5_4() -> None:
    step = moved(REGISTERED, MOVED, TIMING, NOW + 10)
    assert sent(step).care_of == MOVED
    assert isinstance(step.state, Registering)
    assert step.state.held_until == NOW + 400
    assert deadline(step.state) == NOW + 11  # INITIAL_BINDACK_TIMEOUT: there is a binding already


def test_movement_while_registering_begins_a_new_back_off_6275_11_8() -> None:
    state = timeout(REGISTERING, TIMING, NOW + 1.5).state
    step = moved(state, MOVED, TIMING, NOW + 2)
    assert sent(step) == SendUpdate(9, A | H, 100, HOME, MOVED, AGENT)
    assert deadline(step.state) == NOW + 3.5
    ignored(take(step.state, answer(8), NOW + 2), step.state)


def test_movement_is_told_though_prefixes_are_unknown_6275_11_5_4() -> None:
    assert sent(moved(UNKNOWN, MOVED, TIMING, NOW + 10)).care_of == MOVED


def test_movement_after_the_end_is_a_first_registration_6275_11_8() -> None:
    step = moved(REGISTERED, MOVED, TIMING, NOW + 400)
    assert step.actions == (Lapsed(HOME), sent(step))
    assert deadline(step.state) == NOW + 401.5


@STATES
def test_the_same_care_of_address_is_no_movement(state: State) -> None:
    if isinstance(state, Registering | Registered):
        assert moved(state, CARE_OF, TIMING, NOW + 10) == Step(state)


@pytest.mark.parametrize("state", [start(6), FAILED], ids=["idle", "failed"])
def test_without_a_binding_nothing_moves_or_ends(state: State) -> None:
    assert moved(state, MOVED, TIMING, NOW) == Step(state)
    assert home_returned(state, TIMING, NOW) == Step(state)
    assert deregister(state, TIMING, NOW) == Step(state)
    assert revoked(state) == Step(state)


# Deletion


def test_deregistration_away_from_home_6275_10_3_2() -> None:
    step = deregister(REGISTERED, TIMING, NOW + 10)
    assert step.actions == (SendUpdate(8, A | H, 0, HOME, CARE_OF, AGENT),)
    assert deadline(step.state) == NOW + 11
    assert deregister(step.state, TIMING, NOW + 10) == Step(step.state)


@pytest.mark.parametrize("home", [True, False], ids=["6275-11.5.5-home", "6275-11.5.5-moved-home"])
def test_returning_home(home: bool) -> None:
    step = home_returned(REGISTERED, TIMING, NOW) if home else moved(REGISTERED, HOME, TIMING, NOW)
    assert step.actions == (SendUpdate(8, A | H, 0, HOME, HOME, AGENT),)
    assert home_returned(step.state, TIMING, NOW) == Step(step.state)


def test_moving_on_while_deleting_deletes_from_there_6275_9_5_4() -> None:
    step = moved(DELETING, MOVED, TIMING, NOW + 11)
    assert step.actions == (SendUpdate(9, A | H, 0, HOME, MOVED, AGENT),)
    step = home_returned(step.state, TIMING, NOW + 12)
    assert step.actions == (SendUpdate(10, A | H, 0, HOME, HOME, AGENT),)


def test_leaving_home_again_registers_6275_11_7_1() -> None:
    step = moved(AT_HOME, MOVED, TIMING, NOW + 11)
    assert step.actions == (SendUpdate(9, A | H, 100, HOME, MOVED, AGENT),)
    assert deadline(step.state) == NOW + 12.5


@pytest.mark.parametrize(
    ("status", "confirmed"),
    [(0, True), (133, True), (128, False), (129, False)],
    ids=lambda value: f"6275-10.3.2-{value}",
)
def test_the_answer_to_a_deletion(status: int, confirmed: bool) -> None:
    step = take(DELETING, answer(8, status, 0), NOW + 11)
    assert isinstance(step.state, Idle)
    assert step.actions == (Deregistered(HOME, confirmed),)
    assert deadline(step.state) is None


def test_a_deletion_backs_off_and_gives_up_6275_11_8() -> None:
    state, waits, now = DELETING, [], NOW + 10
    while (due := deadline(state)) is not None:
        waits.append(due - now)
        now = due
        step = timeout(state, TIMING, now)
        state = step.state
    assert waits == [1, 2, 4, 8, 16, 32]
    assert step.actions == (Deregistered(HOME, confirmed=False),)


def test_a_deletion_ends_with_the_lifetime_6275_11_1() -> None:
    binding = replace(BINDING, lifetime_units=1, only_home_agent=True)
    state = register(start(6), binding, TIMING, NOW).state
    state = deregister(state, TIMING, NOW + 1).state
    state = timeout(state, TIMING, NOW + 2).state
    assert deadline(state) == NOW + 4
    assert timeout(state, TIMING, NOW + 4).actions == (Deregistered(HOME, confirmed=False),)


def test_an_update_without_answer_is_deleted_too_6275_10_3_2() -> None:
    step = deregister(REFRESHING, TIMING, NOW + 338)
    assert isinstance(step.state, Deregistering)
    assert step.state.expires == NOW + 737  # of the refresh, which may have been accepted
    held = replace(REFRESHING, held_until=NOW + 900) if isinstance(REFRESHING, Registering) else REFRESHING
    step = deregister(held, TIMING, NOW + 338)
    assert isinstance(step.state, Deregistering)
    assert step.state.expires == NOW + 900


# What others ask for


def test_refresh_request_6275_11_7_4() -> None:
    assert sent(refresh_request(REGISTERED, TIMING, NOW + 10)).sequence == 8
    for state in (start(6), REGISTERING, UNKNOWN, DELETING, FAILED):
        ignored(refresh_request(state, TIMING, NOW + 10), state)


def test_an_unknown_binding_is_registered_again_6275_11_3_6() -> None:
    step = error(REGISTERED, 1, TIMING, NOW + 10)
    assert sent(step).sequence == 8
    ignored(error(step.state, 1, TIMING, NOW + 10), step.state)


def test_an_unrecognised_type_ends_a_first_registration_only_6275_11_3_6() -> None:
    step = error(REGISTERING, 2, TIMING, NOW + 1)
    assert step.actions == (Pursue(Remedy.NEXT_HOME_AGENT, None),)
    for state in (start(6), REGISTERED, REFRESHING, DELETING, FAILED):
        ignored(error(state, 2, TIMING, NOW + 10), state)
    ignored(error(REGISTERED, 3, TIMING, NOW + 10), REGISTERED)


def test_revocation_4640_3() -> None:
    assert revoked(REGISTERING).actions == (Pursue(Remedy.REDISCOVER, None),)
    assert revoked(REGISTERED).actions == (Lapsed(HOME), Pursue(Remedy.REDISCOVER, None))
    assert revoked(REFRESHING).actions == (Lapsed(HOME), Pursue(Remedy.REDISCOVER, None))
    assert revoked(DELETING).actions == (Deregistered(HOME, confirmed=True),)


def test_registering_again_keeps_the_binding_of_the_same_home_agent_6275_11_7_1() -> None:
    longer = replace(BINDING, lifetime_units=200)
    step = register(REGISTERED, longer, TIMING, NOW + 10)
    assert step.actions == (SendUpdate(8, A | H, 200, HOME, CARE_OF, AGENT),)
    assert isinstance(step.state, Registering)
    assert step.state.held_until == NOW + 400
    other = replace(BINDING, home_agent=IPv6Address("2001:db8:a::2"))
    step = register(REGISTERED, other, TIMING, NOW + 10)
    assert step.actions == (Lapsed(HOME), SendUpdate(8, A | H, 100, HOME, CARE_OF, other.home_agent))
    assert deadline(step.state) == NOW + 11.5


@pytest.mark.parametrize("state", [start(6), FAILED, DELETING], ids=["idle", "failed", "deleting"])
def test_registering_from_any_state_goes_on_with_its_numbers_6275_11_8(state: State) -> None:
    step = register(state, BINDING, TIMING, NOW + 11)
    assert sent(step).sequence == state.exchange.sequence + 1


def test_every_named_status_leads_somewhere_6275_11_7_3() -> None:
    for status in BindingStatus:
        step = take(REGISTERING, answer(status=status))
        assert step.actions
        assert not isinstance(step.actions[0], Ignore)
