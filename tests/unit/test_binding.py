"""The home agent's Binding Cache entry; each case names the RFC and the section that it comes from."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.mip6.binding import (
    Acknowledge,
    Action,
    Bound,
    DadPending,
    Deleted,
    Discard,
    Entry,
    Intercept,
    KeyManagement,
    ProbeHomeAddress,
    Reason,
    Release,
    Retarget,
    Step,
    StopProbe,
    dad_done,
    deadline,
    expire,
    newer,
    owner_gone,
    receive,
    revoke,
)
from testbed.mip6.policy import HomePrefix, Policy, Request
from testbed.mip6.wire import AckFlags, BindingFlags, BindingStatus, BindingUpdate, NonceIndices

HOME = IPv6Address("2001:db8:a::7")
CARE_OF = IPv6Address("2001:db8:c::7")
MOVED = IPv6Address("2001:db8:d::7")
PREFIX = HomePrefix(IPv6Network("2001:db8:a::/64"))
POLICY = Policy((HomePrefix(IPv6Network("2001:db8:b::/64")), PREFIX))
A, H, L, K = BindingFlags.A, BindingFlags.H, BindingFlags.L, BindingFlags.K
OK = BindingStatus.ACCEPTED
NOW = 1000.0


def update(sequence: int = 16, lifetime_units: int = 100, flags: BindingFlags = A | H) -> BindingUpdate:
    return BindingUpdate(sequence, flags, lifetime_units)


GOOD = Request(update(), HOME, CARE_OF, CARE_OF, "mn@example.org", OK)
BOUND = Bound(HOME, "mn@example.org", 15, NOW + 200, CARE_OF, 50, also_link_local=False)
DELETED = Deleted(HOME, "mn@example.org", 15, NOW + 10)
PENDING = DadPending(replace(GOOD, update=update(15)), also_link_local=False, expires=NOW + 5)


def delete(sequence: int = 16, flags: BindingFlags = A | H) -> Request:
    return replace(GOOD, update=update(sequence, 0, flags))


def acknowledged(step: Step) -> Acknowledge:
    """The one acknowledgement among the actions, which comes last."""
    answers = [action for action in step.actions if isinstance(action, Acknowledge)]
    assert len(answers) == 1
    assert step.actions[-1] is answers[0]
    return answers[0]


# Section 9.5.1, in both directions around the window of 32767.
WINDOW = [
    (15, 16, True),
    (15, 32782, True),
    (32783, 32784, True),
    (32783, 14, True),
    (65535, 0, True),
    (10000, 42767, True),
    (42768, 0, True),
    (42768, 9999, True),
    (15, 14, False),
    (15, 15, False),
    (15, 0, False),
    (15, 32783, False),
    (15, 65535, False),
    (32783, 15, False),
    (32783, 32782, False),
    (0, 65535, False),
    (10000, 42768, False),
    (10000, 0, False),
]


@pytest.mark.parametrize(("last", "sequence", "accepted"), WINDOW, ids=lambda value: f"6275-9.5.1-{value}")
@pytest.mark.parametrize("entry", [BOUND, DELETED, PENDING], ids=["bound", "deleted-10.3.2", "pending"])
def test_sequence_window(entry: Entry, last: int, sequence: int, accepted: bool) -> None:
    assert newer(sequence, last) is accepted
    if isinstance(entry, DadPending):
        entry = replace(entry, request=replace(GOOD, update=update(last)))
    else:
        entry = replace(entry, sequence=last)
    step = receive(entry, replace(GOOD, update=update(sequence)), POLICY, NOW)
    if accepted:
        assert step.entry is not None
        assert step.entry.sequence == sequence
    else:
        answer = acknowledged(step)
        assert (answer.status, answer.sequence) == (135, last)
        assert step.entry is entry


@given(last=st.integers(0, 65535), sequence=st.integers(0, 65535))
def test_of_two_numbers_at_most_one_is_newer(last: int, sequence: int) -> None:
    assert not (newer(sequence, last) and newer(last, sequence))
    assert newer(sequence, last) == (1 <= (sequence - last) % 65536 <= 32767)


OTHER = replace(GOOD, identity="other@example.org")
SILENCE = [
    ("6275-9.5.1-home-multicast", None, replace(GOOD, home_address=IPv6Address("ff02::1")), "9.5.1"),
    ("6275-9.5.1-home-unspecified", None, replace(GOOD, home_address=IPv6Address("::")), "9.5.1"),
    ("6275-9.5.1-home-loopback", None, replace(GOOD, home_address=IPv6Address("::1")), "9.5.1"),
    ("6275-9.5.1-home-mapped", None, replace(GOOD, home_address=IPv6Address("::ffff:192.0.2.1")), "9.5.1"),
    ("6275-9.5.1-home-link-local", None, replace(GOOD, home_address=IPv6Address("fe80::7")), "9.5.1"),
    ("6275-9.5.1-home-site-local", None, replace(GOOD, home_address=IPv6Address("fec0::7")), "9.5.1"),
    ("4291-2.6.1-router-anycast", None, replace(GOOD, home_address=IPv6Address("2001:db8:a::")), "9.5.1"),
    (
        "2526-2-home-agents-anycast",
        None,
        replace(GOOD, home_address=IPv6Address("2001:db8:a:0:fdff:ffff:ffff:fffe")),
        "9.5.1",
    ),
    ("6275-9.5.4-source-multicast", BOUND, replace(GOOD, source=IPv6Address("ff02::1")), "9.5.4"),
    ("6275-9.5.4-source-unspecified", None, replace(GOOD, source=IPv6Address("::")), "9.5.4"),
    (
        "6275-9.5.1-nonce-indices",
        BOUND,
        replace(GOOD, update=replace(update(), options=(NonceIndices(1, 2),))),
        "9.5.1",
    ),
    ("6275-10.3.1-no-security-association", None, replace(GOOD, authorization=None), "10.3.1"),
    ("6275-10.3.1-no-association-any-more", BOUND, replace(GOOD, authorization=None), "10.3.1"),
    ("5026-9.2-other-identity", BOUND, OTHER, "9.2"),
    ("5026-9.2-other-identity-deletes", BOUND, replace(OTHER, update=update(16, 0)), "9.2"),
    ("5026-9.2-other-identity-pending", PENDING, OTHER, "9.2"),
    ("5026-9.2-other-identity-remembered", DELETED, OTHER, "9.2"),
    ("6275-6.1.7-care-of-multicast", BOUND, replace(GOOD, care_of=IPv6Address("ff0e::1")), "6.1.7"),
    ("6275-6.1.7-care-of-link-local", None, replace(GOOD, care_of=IPv6Address("fe80::7")), "6.1.7"),
    ("6275-6.1.7-care-of-deletion", BOUND, replace(delete(), care_of=IPv6Address("::")), "6.1.7"),
]


@pytest.mark.parametrize(
    ("entry", "request_", "section"), [case[1:] for case in SILENCE], ids=[case[0] for case in SILENCE]
)
def test_silence(entry: Entry | None, request_: Request, section: str) -> None:
    step = receive(entry, request_, POLICY, NOW)
    (discard,) = step.actions
    assert isinstance(discard, Discard)
    assert discard.section.endswith(f"section {section}")
    assert step.entry is entry


FULL = replace(POLICY, maximum_bindings=3)
CORRESPONDENT = replace(POLICY, home_agent=False)
ELSEWHERE = replace(GOOD, home_address=IPv6Address("2001:db8:e::7"))
ENDING = Policy((replace(PREFIX, valid_until=NOW + 3.9),))


def refused(status: BindingStatus) -> Request:
    return replace(GOOD, authorization=status)


REFUSALS = [
    ("6275-9.5.1-type-change", BOUND, replace(GOOD, update=update(flags=A)), POLICY, 139),
    ("6275-9.5.1-type-change-pending", PENDING, replace(GOOD, update=update(flags=A)), POLICY, 139),
    ("6275-10.3.1-no-home-registration", None, replace(GOOD, update=update(flags=A)), POLICY, 131),
    ("6275-10.3.1-no-home-registration-A0", None, replace(GOOD, update=update(flags=A & H)), POLICY, 131),
    ("6275-10.3.1-type-change-after-deletion", DELETED, replace(GOOD, update=update(flags=A)), POLICY, 131),
    ("6275-10.3.1-no-home-agent", None, GOOD, CORRESPONDENT, 131),
    ("6275-10.3.1-not-home-subnet", None, ELSEWHERE, POLICY, 132),
    ("6275-10.3.1-prefix-ended", None, GOOD, ENDING, 132),
    ("6275-10.3.1-prohibited", None, refused(BindingStatus.ADMINISTRATIVELY_PROHIBITED), POLICY, 129),
    ("6275-10.3.1-resources", None, refused(BindingStatus.INSUFFICIENT_RESOURCES), POLICY, 130),
    ("5149-4.2-service", None, refused(BindingStatus.SERVICE_AUTHORIZATION_FAILED), POLICY, 151),
    ("6275-10.3.1-full", None, replace(GOOD, bindings=3), FULL, 130),
    ("6275-10.3.1-full-after-deletion", DELETED, replace(GOOD, bindings=3), FULL, 130),
    ("6275-10.3.2-no-binding", None, delete(), POLICY, 133),
    ("6275-10.3.2-no-binding-though-full", None, replace(delete(), bindings=3), FULL, 133),
    ("6275-10.4-tunnel-to-home-address", None, replace(GOOD, care_of=HOME), POLICY, 174),
    ("4285-6-timestamp", BOUND, refused(BindingStatus.MIPV6_ID_MISMATCH), POLICY, 144),
    ("4285-6-no-timestamp", BOUND, refused(BindingStatus.MIPV6_MESG_ID_REQD), POLICY, 145),
    ("4285-5.3-authenticator", BOUND, refused(BindingStatus.MIPV6_AUTH_FAIL), POLICY, 146),
]


@pytest.mark.parametrize(
    ("entry", "request_", "policy", "status"),
    [case[1:] for case in REFUSALS],
    ids=[case[0] for case in REFUSALS],
)
def test_refusals(entry: Entry | None, request_: Request, policy: Policy, status: int) -> None:
    step = receive(entry, request_, policy, NOW)
    answer = acknowledged(step)
    assert answer.status == status
    assert answer.sequence == request_.update.sequence
    assert (answer.lifetime_units, answer.flags, answer.refresh_advice_units) == (0, AckFlags(0), None)
    unchanged = entry is None or status in {139, 144, 145, 146}
    expected = entry if unchanged or entry is None else replace(DELETED, sequence=16)
    assert step.entry == expected


# Each update fails every later check too: what is answered shows which check came first.
WORST = Request(
    replace(update(14, 0, A), options=(NonceIndices(0, 0),)),
    IPv6Address("ff02::1"),
    IPv6Address("::"),
    IPv6Address("ff02::1"),
    "other",
    None,
)
ORDER: list[tuple[str, dict[str, object], object]] = [
    ("6275-9.5.1-home-address", {}, "9.5.1"),
    ("6275-9.5.4-source", {"home_address": IPv6Address("2001:db8:e::7")}, "9.5.4"),
    ("6275-9.5.1-nonce-indices", {"source": CARE_OF, "flags": A | H}, "9.5.1"),
    ("6275-10.3.1-owner", {"options": ()}, "10.3.1"),
    ("5026-9.2-identity", {"authorization": BindingStatus.ADMINISTRATIVELY_PROHIBITED}, "9.2"),
    ("6275-9.5.1-sequence", {"identity": "mn@example.org", "flags": A}, 135),
    ("6275-9.5.1-type", {"sequence": 16}, 139),
    ("6275-10.3.1-role", {"flags": A | H}, 131),
    ("6275-10.3.1-subnet", {"policy": POLICY}, 132),
    ("6275-10.3.1-policy", {"home_address": HOME}, 129),
    ("6275-6.1.7-care-of", {"authorization": OK}, "6.1.7"),
    ("6275-10.3.2-deletion", {"care_of": HOME}, 0),
    ("6275-10.4-registration", {"lifetime_units": 9}, 174),
    ("6275-10.3.1-accepted", {"care_of": CARE_OF}, 0),
]


@pytest.mark.parametrize("index", range(len(ORDER)), ids=[case[0] for case in ORDER])
def test_order_of_checks(index: int) -> None:
    request, policy = WORST, CORRESPONDENT
    for _, repairs, _ in ORDER[: index + 1]:
        for name, value in repairs.items():
            if name == "policy":
                policy = POLICY
            elif name in {"sequence", "flags", "lifetime_units", "options"}:
                request = replace(request, update=replace(request.update, **{name: value}))  # type: ignore[arg-type]
            else:
                request = replace(request, **{name: value})  # type: ignore[arg-type]
    step = receive(BOUND, request, policy, NOW)
    expected = ORDER[index][2]
    if isinstance(expected, str):
        (discard,) = step.actions
        assert isinstance(discard, Discard)
        assert discard.section.endswith(f"section {expected}")
    else:
        assert acknowledged(step).status == expected


def test_new_binding_is_probed_then_intercepted_then_acknowledged_6275_10_3_1() -> None:
    step = receive(None, GOOD, POLICY, NOW)
    assert step == Step(
        DadPending(GOOD, also_link_local=False, expires=NOW + 5),
        (ProbeHomeAddress(HOME, also_link_local=False),),
    )
    assert deadline(step.entry) == NOW + 5
    done = dad_done(step.entry, True, POLICY, NOW + 1)
    bound = Bound(HOME, "mn@example.org", 16, NOW + 401, CARE_OF, 100, also_link_local=False)
    answer = Acknowledge(OK, 16, 100, AckFlags(0), None, CARE_OF, CARE_OF, HOME, type2=True)
    assert done == Step(bound, (Intercept(HOME, CARE_OF, also_link_local=False), answer))
    assert deadline(done.entry) == NOW + 401


def test_with_l_the_link_local_address_is_probed_and_defended_too_6275_10_3_1() -> None:
    step = receive(None, replace(GOOD, update=update(flags=A | H | L)), POLICY, NOW)
    assert step.actions == (ProbeHomeAddress(HOME, also_link_local=True),)
    assert dad_done(step.entry, True, POLICY, NOW).actions[0] == Intercept(HOME, CARE_OF, also_link_local=True)


def test_a_deleted_binding_needs_its_address_probed_again_6275_10_3_1() -> None:
    step = receive(DELETED, GOOD, POLICY, NOW)
    assert step.actions == (ProbeHomeAddress(HOME, also_link_local=False),)


def test_a_retransmission_does_not_probe_again_but_is_what_is_acknowledged_6275_11_8() -> None:
    later = replace(GOOD, update=update(16, 50), care_of=MOVED, source=MOVED, home_address_option=False)
    step = receive(PENDING, later, POLICY, NOW + 1)
    assert step == Step(replace(PENDING, request=later), ())
    done = dad_done(step.entry, True, POLICY, NOW + 2)
    assert done.actions[0] == Intercept(HOME, MOVED, also_link_local=False)
    answer = acknowledged(done)
    assert (answer.sequence, answer.lifetime_units, answer.destination) == (16, 50, MOVED)
    assert not answer.type2


def test_a_duplicate_address_is_refused_6275_10_3_1() -> None:
    step = dad_done(PENDING, False, POLICY, NOW)
    assert step.entry is None
    assert step.actions == (acknowledged(step),)
    assert acknowledged(step).status == 134


def test_a_prefix_that_ends_during_the_probe_is_refused_6275_10_3_1() -> None:
    step = dad_done(PENDING, True, ENDING, NOW)
    assert step.entry is None
    assert acknowledged(step).status == 132


@pytest.mark.parametrize("entry", [None, BOUND, DELETED], ids=["none", "bound", "deleted"])
@pytest.mark.parametrize("unique", [True, False])
def test_the_result_of_a_stopped_probe_means_nothing(entry: Entry | None, unique: bool) -> None:
    assert dad_done(entry, unique, POLICY, NOW) == Step(entry)


@pytest.mark.parametrize(
    ("status", "request_", "policy"),
    [
        (131, GOOD, CORRESPONDENT),
        (132, GOOD, ENDING),
        (129, refused(BindingStatus.ADMINISTRATIVELY_PROHIBITED), POLICY),
        (151, refused(BindingStatus.SERVICE_AUTHORIZATION_FAILED), POLICY),
        (174, replace(GOOD, care_of=HOME), POLICY),
    ],
    ids=lambda value: f"6275-10.3.1-{value}" if isinstance(value, int) else "",
)
def test_a_refusal_ends_a_pending_binding_and_keeps_another(status: int, request_: Request, policy: Policy) -> None:
    step = receive(PENDING, request_, policy, NOW)
    assert step.entry is None
    assert step.actions == (StopProbe(HOME), acknowledged(step))
    assert acknowledged(step).status == status
    step = receive(BOUND, request_, policy, NOW)
    assert acknowledged(step).status == status
    if status == 151:
        assert step == Step(None, (Release(HOME, Reason.SERVICE_REFUSED), acknowledged(step)))
    else:
        assert step == Step(replace(BOUND, sequence=16), (acknowledged(step),))


def test_refresh_6275_10_3_1() -> None:
    step = receive(BOUND, GOOD, POLICY, NOW)
    assert step.entry == replace(BOUND, sequence=16, expires=NOW + 400, lifetime_units=100)
    assert step.actions == (acknowledged(step),)


@pytest.mark.parametrize("flags", [A | H, H], ids=["6275-10.3.1-A1", "6275-10.3.1-A0"])
def test_a_home_registration_is_always_acknowledged(flags: BindingFlags) -> None:
    assert acknowledged(receive(BOUND, replace(GOOD, update=update(flags=flags)), POLICY, NOW)).status == 0


def test_a_refresh_cannot_change_which_addresses_were_probed_6275_10_3_1() -> None:
    step = receive(BOUND, replace(GOOD, update=update(flags=A | H | L)), POLICY, NOW)
    assert isinstance(step.entry, Bound)
    assert not step.entry.also_link_local


def test_movement_6275_10_3_1() -> None:
    step = receive(BOUND, replace(GOOD, care_of=MOVED, source=MOVED), POLICY, NOW)
    assert isinstance(step.entry, Bound)
    assert step.entry.care_of == MOVED
    assert step.actions == (Retarget(HOME, CARE_OF, MOVED), acknowledged(step))
    assert acknowledged(step).destination == MOVED


MOBILE = replace(POLICY, key_mobility=True)


@pytest.mark.parametrize(
    ("asks", "dynamic", "policy", "survives"),
    [
        (A | H | K, True, MOBILE, True),
        (A | H, True, MOBILE, False),
        (A | H | K, True, POLICY, False),
        (A | H | K, False, MOBILE, None),
    ],
    ids=["6275-10.3.1-K", "6275-10.3.1-not-asked", "6275-10.3.1-not-able", "6275-10.3.1-manual-keys"],
)
def test_key_management(asks: BindingFlags, dynamic: bool, policy: Policy, survives: bool | None) -> None:
    request = replace(GOOD, dynamic_keys=dynamic, update=update(flags=asks))
    cases: list[tuple[Step, IPv6Address, IPv6Address]] = [
        (dad_done(replace(PENDING, request=request), True, policy, NOW), HOME, CARE_OF),
        (receive(BOUND, replace(request, care_of=MOVED), policy, NOW), CARE_OF, MOVED),
        (receive(BOUND, replace(request, update=update(16, 0, asks)), policy, NOW), CARE_OF, HOME),
    ]
    for step, old, new in cases:
        keys = [action for action in step.actions if isinstance(action, KeyManagement)]
        assert keys == ([] if survives is None else [KeyManagement(HOME, old, new, survives)])
        assert acknowledged(step).flags == (AckFlags.K if survives else AckFlags(0))


class Limits(NamedTuple):
    asked: int
    maximum: int = 3600
    valid: float = math.inf
    preferred: float = math.inf
    advice: int | None = None


LIFETIMES = [  # granted units, status, advised units
    ("6275-10.3.1-as-asked", Limits(100), (100, 0, None)),
    ("6275-10.3.1-policy", Limits(1000), (900, 0, None)),
    ("6275-10.3.1-policy-odd", Limits(100, 7), (1, 0, None)),
    ("6275-10.3.1-policy-none", Limits(100, 0), (1, 0, None)),
    ("6275-10.3.1-longest", Limits(65535, 300000), (65535, 0, None)),
    ("6275-10.3.1-valid", Limits(100, valid=43.9), (10, 1, None)),
    ("6275-10.3.1-invalid-at-the-end", Limits(10, valid=43.9), (10, 1, None)),
    ("6275-10.3.1-invalid-after-the-end", Limits(10, valid=44), (10, 0, None)),
    ("6275-10.3.1-deprecated", Limits(10, preferred=-1), (10, 1, None)),
    ("6275-10.3.1-deprecated-soon", Limits(10, preferred=39.9), (10, 1, None)),
    ("6275-10.3.1-deprecated-later", Limits(10, preferred=40), (10, 0, None)),
    ("6275-10.3.1-advice", Limits(100, advice=200), (100, 0, 50)),
    ("6275-6.2.4-advice-one-less", Limits(51, advice=200), (51, 0, 50)),
    ("6275-6.2.4-advice-not-less", Limits(50, advice=200), (50, 0, None)),
    ("6275-6.2.4-advice-too-short", Limits(50, advice=3), (50, 0, None)),
]


@pytest.mark.parametrize(("limits", "expected"), [case[1:] for case in LIFETIMES], ids=[case[0] for case in LIFETIMES])
def test_lifetimes(limits: Limits, expected: tuple[int, int, int | None]) -> None:
    prefix = replace(PREFIX, valid_until=NOW + limits.valid, preferred_until=NOW + limits.preferred)
    policy = Policy((prefix,), maximum_lifetime=limits.maximum, refresh_advice=limits.advice)
    step = receive(BOUND, replace(GOOD, update=update(16, limits.asked)), policy, NOW)
    answer = acknowledged(step)
    assert (answer.lifetime_units, answer.status, answer.refresh_advice_units) == expected
    assert isinstance(step.entry, Bound)
    assert step.entry.expires == NOW + 4 * expected[0]
    assert step.entry.expires <= prefix.valid_until


DELETIONS: list[tuple[str, Entry, tuple[Action, ...]]] = [
    ("6275-10.3.2-bound", BOUND, (Release(HOME, Reason.DEREGISTERED),)),
    ("6275-10.3.2-pending", PENDING, (StopProbe(HOME),)),
    ("6275-10.3.2-again", DELETED, ()),
]


@pytest.mark.parametrize(("entry", "first"), [case[1:] for case in DELETIONS], ids=[case[0] for case in DELETIONS])
@pytest.mark.parametrize("at_home", [False, True], ids=["away", "6275-11.5.5-at-home"])
def test_deletion_is_remembered(entry: Entry, first: tuple[Action, ...], at_home: bool) -> None:
    request = delete()
    if at_home:
        request = replace(request, source=HOME, care_of=HOME, home_address_option=False)
    step = receive(entry, request, replace(POLICY, refresh_advice=4), NOW)
    assert step.entry == replace(DELETED, sequence=16)
    assert step.actions == (*first, acknowledged(step))
    answer = acknowledged(step)
    assert (answer.status, answer.sequence, answer.lifetime_units) == (0, 16, 0)
    assert (answer.destination, answer.type2) == ((HOME, False) if at_home else (CARE_OF, True))
    assert answer.refresh_advice_units is None
    late = receive(step.entry, replace(GOOD, update=update(15)), POLICY, NOW + 9.9)
    assert (acknowledged(late).status, acknowledged(late).sequence) == (135, 16)
    assert expire(step.entry, NOW + 9.9).entry is step.entry
    assert expire(step.entry, NOW + 10) == Step(None)


def test_a_timestamp_stands_for_the_sequence_number_4285_6() -> None:
    step = receive(BOUND, replace(GOOD, update=update(3), timely=True), POLICY, NOW)
    assert acknowledged(step).status == 0
    assert step.entry is not None
    assert step.entry.sequence == 3


def test_nothing_expires_early() -> None:
    assert deadline(None) is None
    for entry in (None, BOUND, PENDING, DELETED):
        assert expire(entry, NOW) == Step(entry)


def test_a_binding_ends_with_its_lifetime_6275_9_6() -> None:
    assert expire(BOUND, NOW + 200) == Step(None, (Release(HOME, Reason.EXPIRED),))


def test_a_probe_that_never_ends_is_refused_6275_10_3_1() -> None:
    step = expire(PENDING, NOW + 5)
    assert step == Step(None, (StopProbe(HOME), acknowledged(step)))
    assert acknowledged(step).status == 130


def test_an_update_after_the_end_begins_a_new_binding_6275_9_6() -> None:
    step = receive(BOUND, replace(GOOD, update=update(3)), POLICY, NOW + 200)
    assert isinstance(step.entry, DadPending)
    assert step.actions == (Release(HOME, Reason.EXPIRED), ProbeHomeAddress(HOME, also_link_local=False))


@pytest.mark.parametrize("reason", [Reason.REVOKED, Reason.PREFIX_INVALID])
def test_revocation_6275_10_3_1(reason: Reason) -> None:
    assert revoke(BOUND, reason) == Step(None, (Release(HOME, reason),))
    step = revoke(PENDING, reason)
    assert step == Step(None, (StopProbe(HOME), acknowledged(step)))
    assert acknowledged(step).status == 129
    assert revoke(DELETED, reason) == Step(DELETED)
    assert revoke(None, reason) == Step(None)


def test_without_an_owner_no_binding_and_no_answer_6275_5_1() -> None:
    assert owner_gone(BOUND) == Step(None, (Release(HOME, Reason.OWNER_GONE),))
    assert owner_gone(PENDING) == Step(None, (StopProbe(HOME),))
    assert owner_gone(DELETED) == Step(DELETED)
    assert owner_gone(None) == Step(None)


def test_anycast_identifiers_of_other_prefix_lengths_2526_2() -> None:
    prefix = HomePrefix(IPv6Network("2001:db8:a::/56"))
    assert prefix.is_anycast(IPv6Address("2001:db8:a:ff:ffff:ffff:ffff:fffe"))
    assert not prefix.is_anycast(IPv6Address("2001:db8:a:0:fdff:ffff:ffff:fffe"))
