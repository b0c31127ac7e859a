"""How a mobile node sends Binding Updates to its home agent: when, how often, with which sequence number.

No input, output or clock. Sections without a number of their RFC are sections of RFC 6275.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from testbed.mip6.wire import BindingFlags

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_SEQUENCES: Final = 1 << 16  # section 6.1.7
_SECOND: Final = 1.0  # what MAX_UPDATE_RATE counts in: section 11.8


@dataclass(frozen=True, slots=True)
class Timing:
    """The timers of a mobile node, in seconds, and its limits (sections 12 and 13).

    ``immediate_retries`` is how often in a row a refusal that names its own cure (135, 144) is answered at
    once instead of at the next timeout; no RFC gives a number.
    """

    first_timeout: float = 1.5  # InitialBindackTimeoutFirstReg
    initial_timeout: float = 1.0  # INITIAL_BINDACK_TIMEOUT
    maximum_timeout: float = 32.0  # MAX_BINDACK_TIMEOUT
    update_rate: int = 3  # MAX_UPDATE_RATE, in any one second
    immediate_retries: int = 3

    @property
    def patience(self) -> float:
        """How long a refresh tries before it gives up: 1 + 2 + 4 + ... + 32 s by default (section 11.8)."""
        timeout, total = self.initial_timeout, self.maximum_timeout
        while timeout < self.maximum_timeout:
            total += timeout
            timeout *= 2
        return total


@dataclass(frozen=True, slots=True)
class Binding:
    """The binding that the mobile node wants (section 11.7.1).

    Attributes:
        home_address: the address to be reached at.
        care_of: the address to be reached through; at home, the home address.
        home_agent: the address of the home agent.
        lifetime_units: the lifetime to ask for, in units of 4 s; not zero, nor longer than an address lives.
        link_local: whether the link-local address has the same interface identifier as the home address (L).
        key_mobility: whether IKE made the security associations and its peer can follow a movement (K).
        only_home_agent: whether there is no other home agent to try, so that patience never ends.
    """

    home_address: IPv6Address
    care_of: IPv6Address
    home_agent: IPv6Address
    lifetime_units: int
    link_local: bool = False
    key_mobility: bool = False
    only_home_agent: bool = False

    @property
    def at_home(self) -> bool:
        """Whether the mobile node is on its home link (section 11.5.5)."""
        return self.care_of == self.home_address

    @property
    def flags(self) -> BindingFlags:
        """The flags of every Binding Update for it (section 11.7.1)."""
        flags = BindingFlags.A | BindingFlags.H
        if self.link_local:
            flags |= BindingFlags.L
        if self.key_mobility:
            flags |= BindingFlags.K
        return flags


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Send a Binding Update to the home agent.

    ``care_of`` is the source of its packet and stands in its Alternate Care-of Address option, always; unless
    it is the home address, the packet has a Home Address option (sections 11.5.5 and 11.7.1).
    """

    sequence: int
    flags: BindingFlags
    lifetime_units: int
    home_address: IPv6Address
    care_of: IPv6Address
    home_agent: IPv6Address


@dataclass(frozen=True, slots=True)
class Exchange:
    """The Binding Updates sent so far (section 11.1).

    Attributes:
        sequence: the last sequence number sent or adopted from a refusal.
        sent: when the last ones were sent, as far as the rate limit needs it; the latest is last.
        outstanding: the number that an answer has to carry; None if the rate limit holds the update back.
        timeout: how long to wait for the acknowledgement.
        due: when to send again.
        retries: how often in a row an answer made the mobile node send at once.
    """

    sequence: int
    sent: tuple[float, ...] = ()
    outstanding: int | None = None
    timeout: float = 0.0
    due: float = 0.0
    retries: int = 0

    def begin(self, timeout: float) -> Exchange:
        """Start a back-off process of its own (section 11.8)."""
        return replace(self, timeout=timeout, retries=0)

    def end(self) -> Exchange:
        """Wait for nothing any more."""
        return Exchange(self.sequence, self.sent)

    def back_off(self, timing: Timing) -> Exchange:
        """Double the timeout, unless it was the rate limit that made us wait (section 11.8)."""
        if self.outstanding is None:
            return self
        return replace(self, timeout=min(2 * self.timeout, timing.maximum_timeout))

    def exhausted(self, binding: Binding, timing: Timing) -> bool:
        """Whether a whole period of the longest timeout brought no answer (section 11.7.1)."""
        waited = self.outstanding is not None and self.timeout >= timing.maximum_timeout
        return waited and not binding.only_home_agent

    def transmit(
        self, binding: Binding, lifetime_units: int, timing: Timing, now: float
    ) -> tuple[Exchange, tuple[SendUpdate, ...]]:
        """Send with a new sequence number, or later if the rate limit says so (section 11.8)."""
        if len(self.sent) == timing.update_rate and now < self.sent[0] + _SECOND:
            return replace(self, outstanding=None, due=self.sent[0] + _SECOND), ()
        sequence = (self.sequence + 1) % _SEQUENCES
        update = SendUpdate(
            sequence,
            binding.flags,
            lifetime_units,
            binding.home_address,
            binding.care_of,
            binding.home_agent,
        )
        sent = (*self.sent, now)[-timing.update_rate :]
        due = now + self.timeout
        return replace(self, sequence=sequence, sent=sent, outstanding=sequence, due=due), (update,)
