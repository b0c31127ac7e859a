"""What a home agent tells a mobile node until it obeys, without input, output or clock (RFC 5142, RFC 5846)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from testbed.mip6.wire import BindingRevocation, HomeAgentSwitch

if TYPE_CHECKING:
    from collections.abc import Mapping

Order: TypeAlias = HomeAgentSwitch | BindingRevocation


@dataclass(frozen=True, slots=True)
class Pacing:
    """How often an order is sent: waits double from ``initial`` to ``maximum`` seconds.

    After ``retries`` it is given up; None for never. ``spacing`` seconds at least lie between two transmissions.
    """

    initial: float
    maximum: float
    retries: int | None
    spacing: float = 0.0


#: INITIAL-HA-SWITCH-TIMEOUT, MAX-HA-SWITCH-TIMEOUT and MAX-HA-SWITCH-TRANSMIT-RATE: RFC 5142 section 8
SWITCH_PACING: Final = Pacing(initial=5.0, maximum=20.0, retries=None, spacing=1.0)
#: InitMINDelayBRIs, MAX_BRACK_TIMEOUT and BRIMaxRetriesNumber: RFC 5846 section 12
REVOCATION_PACING: Final = Pacing(initial=1.0, maximum=2.0, retries=1)
_PACING: Final[Mapping[type[Order], Pacing]] = {
    HomeAgentSwitch: SWITCH_PACING,
    BindingRevocation: REVOCATION_PACING,
}


@dataclass(frozen=True, slots=True)
class Directive:
    """An order under way: ``sent`` when and how often last, ``due`` when something has to be done again."""

    order: Order
    due: float
    timeout: float
    sent: float | None = None
    times: int = 0

    @property
    def pacing(self) -> Pacing:
        """How often it is sent."""
        return _PACING[type(self.order)]


def issue(order: Order, now: float, before: Directive | None = None) -> Directive:
    """Begin to give an order in place of the one ``before``: it is due at once, or when the rate limit lets it."""
    pacing = _PACING[type(order)]
    due = now if before is None or before.sent is None else max(now, before.sent + pacing.spacing)
    return Directive(order, due, pacing.initial)


def next_transmission(directive: Directive, now: float) -> Directive | None:
    """Send the order, which is due, and wait again; None if it is given up instead.

    RFC 5142 section 5.2, RFC 5846 section 7.3.
    """
    pacing = directive.pacing
    if pacing.retries is not None and directive.times > pacing.retries:
        return None
    timeout = directive.timeout if directive.times == 0 else min(2 * directive.timeout, pacing.maximum)
    return replace(directive, due=now + timeout, timeout=timeout, sent=now, times=directive.times + 1)
