"""The mobile node's side of a home registration: one Binding Update List entry, without I/O or clock.

::

    Idle, Failed            -- register --------------------------------------> Registering
    Registering             -- accepted --------------------------------------> Registered
    Registered              -- refresh due or asked for, movement, error -----> Registering
    Registering, Registered -- deregister, home link reached -----------------> Deregistering
    Deregistering           -- answer, patience over, lifetime over ----------> Idle
    Deregistering           -- movement away from the home link --------------> Registering
    Registering, Registered -- refusal, patience over, revocation ------------> Failed, with a remedy

Every function takes a state and gives back the next one and what the mobile node has to do, in that order.
Times are seconds on any one clock that never goes back. Sections without an RFC are those of RFC 6275.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from testbed.mip6.binding import newer
from testbed.mip6.retransmission import Exchange, SendUpdate
from testbed.mip6.wire import (
    LIFETIME_UNIT,
    AckFlags,
    BindingErrorStatus,
    BindingRefreshAdvice,
    BindingStatus,
    option,
)

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from testbed.mip6.retransmission import Binding, Timing
    from testbed.mip6.wire import BindingAcknowledgement


class Remedy(Enum):
    """What a mobile node can do when the registration alone does not lead on."""

    NEXT_HOME_AGENT = auto()
    NEW_HOME_ADDRESS = auto()
    NEW_CARE_OF_ADDRESS = auto()
    REDISCOVER = auto()
    SWITCH_HOME_AGENT = auto()
    PREFIX_DISCOVERY = auto()
    STOP = auto()


# The cure of each refusal; STOP for all others (section 11.7.3 leaves the choice open).
_REMEDIES: Final[dict[int, Remedy]] = {
    BindingStatus.ADMINISTRATIVELY_PROHIBITED: Remedy.NEXT_HOME_AGENT,
    BindingStatus.INSUFFICIENT_RESOURCES: Remedy.NEXT_HOME_AGENT,
    BindingStatus.HOME_REGISTRATION_NOT_SUPPORTED: Remedy.NEXT_HOME_AGENT,
    BindingStatus.NOT_HOME_SUBNET: Remedy.REDISCOVER,
    BindingStatus.NOT_HOME_AGENT_FOR_THIS_MOBILE_NODE: Remedy.REDISCOVER,
    BindingStatus.DUPLICATE_ADDRESS_DETECTION_FAILED: Remedy.NEW_HOME_ADDRESS,
    BindingStatus.INVALID_CARE_OF_ADDRESS: Remedy.NEW_CARE_OF_ADDRESS,
}


@dataclass(frozen=True, slots=True)
class Idle:
    """No binding."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class Registering:
    """An update waits for its acknowledgement; a binding acknowledged before holds until ``held_until``."""

    exchange: Exchange
    binding: Binding
    held_until: float | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The home agent serves the binding until ``expires``.

    While ``prefixes_unknown``, section 11.7.1 forbids to refresh it.
    """

    exchange: Exchange
    binding: Binding
    expires: float
    refresh_at: float
    prefixes_unknown: bool


@dataclass(frozen=True, slots=True)
class Deregistering:
    """A deletion waits for its acknowledgement; the home agent forgets the binding at ``expires`` anyhow."""

    exchange: Exchange
    binding: Binding
    expires: float


@dataclass(frozen=True, slots=True)
class Failed:
    """No binding, and none will come about without the remedy; ``status`` is the refusal, if one came."""

    exchange: Exchange
    remedy: Remedy
    status: int | None


State: TypeAlias = Idle | Registering | Registered | Deregistering | Failed


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The binding is in place until ``expires``; with ``key_mobility`` IKE moves along (section 11.7.3)."""

    binding: Binding
    expires: float
    refresh_at: float
    key_mobility: bool


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The binding is no more: its home address cannot be used from here."""

    home_address: IPv6Address


@dataclass(frozen=True, slots=True)
class Deregistered:
    """The deletion is over; ``confirmed`` if the home agent said that it has no binding (section 11.5.5)."""

    home_address: IPv6Address
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Pursue:
    """Do what ``remedy`` says; ``status`` is the acknowledgement's, if one brought it about."""

    remedy: Remedy
    status: int | None


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing follows from the message, as ``section`` asks."""

    reason: str
    section: str


Action: TypeAlias = SendUpdate | Confirmed | Lapsed | Deregistered | Pursue | Ignore


@dataclass(frozen=True, slots=True)
class Step:
    """The state from now on, and what to do, in this order."""

    state: State
    actions: tuple[Action, ...] = ()


def start(sequence: int) -> Idle:
    """Begin without a binding; the first update carries the number after ``sequence`` (section 11.7.1)."""
    return Idle(Exchange(sequence))


def deadline(state: State) -> float | None:
    """When ``timeout`` has to be called, None for never."""
    match state:
        case Registering():
            held = state.held_until
            return state.exchange.due if held is None else min(state.exchange.due, held)
        case Registered():
            return state.expires if state.prefixes_unknown else state.refresh_at
        case Deregistering():
            return min(state.exchange.due, state.expires)
    return None


def register(state: State, binding: Binding, timing: Timing, now: float) -> Step:
    """Ask for a binding, new or changed (section 11.7.1)."""
    old = state.binding if isinstance(state, Registering | Registered) else None
    if old is not None and (old.home_address, old.home_agent) == (binding.home_address, binding.home_agent):
        return _register(state, binding, _held_until(state), timing, now)
    return _register(state, binding, None, timing, now)


def moved(state: State, care_of: IPv6Address, timing: Timing, now: float) -> Step:
    """Take a new care-of address to the home agent (sections 11.5.4 and 11.7.1)."""
    if isinstance(state, Idle | Failed) or care_of == state.binding.care_of:
        return Step(state)
    binding = replace(state.binding, care_of=care_of)
    if binding.at_home or (isinstance(state, Deregistering) and not state.binding.at_home):
        return _deregister(state, binding, timing, now)
    return _register(state, binding, _held_until(state), timing, now)


def home_returned(state: State, timing: Timing, now: float) -> Step:
    """Delete the binding because the home link is reached again (section 11.5.5)."""
    if isinstance(state, Idle | Failed):
        return Step(state)
    return moved(state, state.binding.home_address, timing, now)


def deregister(state: State, timing: Timing, now: float) -> Step:
    """Delete the binding from the care-of address (section 10.3.2)."""
    if not isinstance(state, Registering | Registered):
        return Step(state)
    return _deregister(state, state.binding, timing, now)


def refresh_request(state: State, timing: Timing, now: float) -> Step:
    """Take a Binding Refresh Request; without a settled binding it is not for us (section 11.7.4)."""
    if not isinstance(state, Registered):
        return Step(state, (Ignore("no binding to refresh", "RFC 6275 section 11.7.4"),))
    if state.prefixes_unknown:
        return Step(state, (Ignore("the home prefixes are not known yet", "RFC 6275 section 11.7.1"),))
    return _register(state, state.binding, state.expires, timing, now)


def error(state: State, status: int, timing: Timing, now: float) -> Step:
    """Take a Binding Error from the home agent (section 11.3.6).

    It is not authenticated: it may cost an update, but never a binding that the home agent has acknowledged.
    """
    if status == BindingErrorStatus.UNKNOWN_BINDING and isinstance(state, Registered):
        return _register(state, state.binding, state.expires, timing, now)
    first = isinstance(state, Registering) and state.held_until is None
    if status == BindingErrorStatus.UNRECOGNIZED_TYPE and first:
        return _fail(state, Remedy.NEXT_HOME_AGENT, None)
    return Step(state, (Ignore("no update that this error could answer", "RFC 6275 section 11.3.6"),))


def revoked(state: State) -> Step:
    """The home agent or its operator has ended the binding: bootstrap again (RFC 4640 section 3)."""
    match state:
        case Registering() | Registered():
            return _fail(state, Remedy.REDISCOVER, None)
        case Deregistering():
            return _deregistered(state, confirmed=True)
    return Step(state)


def prefixes_known(state: State) -> Step:
    """Mobile prefix discovery has shown that the home address stays valid (section 11.7.1)."""
    return Step(replace(state, prefixes_unknown=False) if isinstance(state, Registered) else state)


def acknowledgement(
    state: State, answer: BindingAcknowledgement, authenticated: bool, timing: Timing, now: float
) -> Step:
    """Take a Binding Acknowledgement from the home agent (section 11.7.3)."""
    if not authenticated:
        return Step(state, (Ignore("not authenticated", "RFC 6275 section 11.7.3"),))
    if answer.status == BindingStatus.SEQUENCE_NUMBER_OUT_OF_WINDOW:
        return _resynchronise(state, answer.sequence, timing, now)
    if not isinstance(state, Registering | Deregistering) or answer.sequence != state.exchange.outstanding:
        return Step(state, (Ignore("no update with this number is outstanding", "RFC 6275 section 11.7.3"),))
    exchange = state.exchange
    if answer.status == BindingStatus.MIPV6_ID_MISMATCH and exchange.retries < timing.immediate_retries:
        return _transmit_at_once(state, exchange, timing, now)  # with a new timestamp: RFC 4285 section 6
    if isinstance(state, Registering):
        return _registration_answered(state, answer, timing, now)
    gone = answer.status == BindingStatus.NOT_HOME_AGENT_FOR_THIS_MOBILE_NODE
    return _deregistered(state, confirmed=answer.accepted or gone)


def timeout(state: State, timing: Timing, now: float) -> Step:
    """Do what is due at ``deadline``; before that, nothing happens (section 11.8)."""
    due = deadline(state)
    if due is None or now < due:
        return Step(state)
    match state:
        case Registering():
            return _registration_due(state, timing, now)
        case Deregistering():
            return _deletion_due(state, timing, now)
        case Registered() if not state.prefixes_unknown:
            return _register(state, state.binding, state.expires, timing, now)
    return _fail(state, Remedy.REDISCOVER, None)


def _held_until(state: State) -> float | None:
    """Until when the home agent serves a binding that it acknowledged."""
    match state:
        case Registering():
            return state.held_until
        case Registered():
            return state.expires
    return None


def _register(state: State, binding: Binding, held_until: float | None, timing: Timing, now: float) -> Step:
    """Begin to ask for a binding; without one the home agent needs time for its DAD (section 11.8)."""
    actions: tuple[Action, ...] = ()
    if held_until is None or held_until <= now:
        actions = _lapse(state)
        held_until = None
    first = timing.first_timeout if held_until is None else timing.initial_timeout
    exchange, updates = state.exchange.begin(first).transmit(binding, binding.lifetime_units, timing, now)
    return Step(Registering(exchange, binding, held_until), (*actions, *updates))


def _deregister(state: Registering | Registered | Deregistering, binding: Binding, timing: Timing, now: float) -> Step:
    if isinstance(state, Registering):  # its last update may have been accepted all the same
        granted = state.exchange.sent[-1] + state.binding.lifetime_units * LIFETIME_UNIT
        expires = granted if state.held_until is None else max(granted, state.held_until)
    else:
        expires = state.expires
    exchange, updates = state.exchange.begin(timing.initial_timeout).transmit(binding, 0, timing, now)
    return Step(Deregistering(exchange, binding, expires), updates)


def _transmit_again(state: Registering | Deregistering, exchange: Exchange, timing: Timing, now: float) -> Step:
    units = state.binding.lifetime_units if isinstance(state, Registering) else 0
    exchange, updates = exchange.transmit(state.binding, units, timing, now)
    return Step(replace(state, exchange=exchange), updates)


def _transmit_at_once(state: Registering | Deregistering, exchange: Exchange, timing: Timing, now: float) -> Step:
    return _transmit_again(state, replace(exchange, retries=exchange.retries + 1), timing, now)


def _registration_due(state: Registering, timing: Timing, now: float) -> Step:
    actions: tuple[Action, ...] = ()
    if state.held_until is not None and now >= state.held_until:
        actions = _lapse(state)
        state = replace(state, held_until=None)
    if now < state.exchange.due:
        return Step(state, actions)
    if state.exchange.exhausted(state.binding, timing):
        step = _fail(state, Remedy.NEXT_HOME_AGENT, None)
    else:
        step = _transmit_again(state, state.exchange.back_off(timing), timing, now)
    return Step(step.state, actions + step.actions)


def _deletion_due(state: Deregistering, timing: Timing, now: float) -> Step:
    if now >= state.expires or state.exchange.exhausted(state.binding, timing):
        return _deregistered(state, confirmed=False)
    return _transmit_again(state, state.exchange.back_off(timing), timing, now)


def _resynchronise(state: State, last: int, timing: Timing, now: float) -> Step:
    """Adopt the home agent's sequence number and, if an update was refused, send it again (section 11.7.1).

    A number that our own one follows answers an older update than the last: ours is still to be judged.
    """
    if isinstance(state, Idle | Failed) or newer(state.exchange.sequence, last):
        return Step(state, (Ignore("our sequence number is newer", "RFC 6275 section 11.7.3"),))
    exchange = replace(state.exchange, sequence=last)
    if isinstance(state, Registered) or exchange.outstanding is None or exchange.retries >= timing.immediate_retries:
        return Step(replace(state, exchange=exchange))
    return _transmit_at_once(state, exchange, timing, now)


def _registration_answered(state: Registering, answer: BindingAcknowledgement, timing: Timing, now: float) -> Step:
    if not answer.accepted:
        return _fail(state, _REMEDIES.get(answer.status, Remedy.STOP), answer.status)
    exchange, binding = state.exchange, state.binding
    granted = min(answer.lifetime_units, binding.lifetime_units)
    if granted == 0:  # accepted, yet nothing is bound
        return _fail(state, Remedy.NEXT_HOME_AGENT, answer.status)
    # max(L_remain - (L_update - L_ack), 0), with L_remain = L_update less what has passed since the sending
    lifetime = granted * LIFETIME_UNIT
    expires = exchange.sent[-1] + lifetime
    if expires <= now:
        return Step(state, (Ignore("the binding ended before its answer came", "RFC 6275 section 11.7.3"),))
    refresh_at = expires - min(lifetime / 2, timing.patience)
    advice = option(answer, BindingRefreshAdvice)
    if advice is not None and advice.interval > 0:
        refresh_at = min(refresh_at, exchange.sent[-1] + advice.interval)
    unknown = answer.status == BindingStatus.ACCEPTED_PREFIX_DISCOVERY_NECESSARY
    registered = Registered(exchange.end(), binding, expires, refresh_at, unknown)
    confirmed = Confirmed(binding, expires, refresh_at, AckFlags.K in answer.flags)
    pursue = (Pursue(Remedy.PREFIX_DISCOVERY, answer.status),) if unknown else ()
    return Step(registered, (confirmed, *pursue))


def _deregistered(state: Deregistering, *, confirmed: bool) -> Step:
    home = state.binding.home_address
    return Step(Idle(state.exchange.end()), (Deregistered(home, confirmed),))


def _lapse(state: State) -> tuple[Lapsed, ...]:
    """Tell that the acknowledged binding, if there is one, is no more."""
    if isinstance(state, Registering | Registered) and _held_until(state) is not None:
        return (Lapsed(state.binding.home_address),)
    return ()


def _fail(state: State, remedy: Remedy, status: int | None) -> Step:
    failed = Failed(state.exchange.end(), remedy, status)
    return Step(failed, (*_lapse(state), Pursue(remedy, status)))
