"""The prefixes of a home link, as its home agent tells them and a mobile node takes them, without I/O or clock.

RFC 6275 sections 10.6 and 11.4. Times are seconds on any one clock that never goes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from testbed.mip6.policy import HomePrefix
from testbed.mip6.wire import MobilePrefixAdvertisement, PrefixFlags, PrefixInformation, RouterFlags

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from ipaddress import IPv6Address, IPv6Network

    from testbed.mip6 import ndisc

_ENDLESS: Final = 0xFFFFFFFF  # a lifetime that never ends: RFC 4861 section 4.6.2
_NONE: Final = RouterFlags(0)
_EARLY: Final = 0.75  # when a mobile node asks again, as a share of a lifetime; RFC 6275 section 11.4.2 leaves it open
_SHORTEST: Final = 1.0


@dataclass(frozen=True, slots=True)
class Known:
    """A prefix as a Router Advertisement told it, when, and whether it was the home agent's own."""

    told: ndisc.PrefixInformation
    at: float
    own: bool

    def left(self, lifetime: int, now: float) -> int:
        """What is left of one of its lifetimes, in whole seconds."""
        return lifetime if lifetime == _ENDLESS else max(0, int(self.at + lifetime - now))

    def until(self, lifetime: int) -> float:
        """When one of its lifetimes ends."""
        return math.inf if lifetime == _ENDLESS else self.at + lifetime


@dataclass(frozen=True, slots=True)
class HomePrefixes:
    """What the Router Advertisements on a home link say, those of the home agent itself first (section 10.6.1)."""

    prefixes: Mapping[IPv6Network, Known]
    flags: Mapping[IPv6Address, RouterFlags]

    def heard(
        self, router: IPv6Address, advertisement: ndisc.RouterAdvertisement, now: float, *, own: bool
    ) -> HomePrefixes:
        """Take a Router Advertisement."""
        prefixes = dict(self.prefixes)
        for told in advertisement.prefixes:
            known = prefixes.get(told.network)
            if own or known is None or not known.own:
                prefixes[told.network] = Known(told, now, own)
        managed = RouterFlags.MANAGED if advertisement.managed else _NONE
        other = RouterFlags.OTHER if advertisement.other else _NONE
        return replace(self, prefixes=prefixes, flags={**self.flags, router: managed | other})

    def differs(self, before: HomePrefixes, home_address: IPv6Address) -> bool:
        """Whether a mobile node with a home address has to be told what has changed (section 10.6.2)."""
        return any(
            network not in before.prefixes or (home_address in network and known.told != before.prefixes[network].told)
            for network, known in self.prefixes.items()
        )

    def advertisement(self, identifier: int, now: float) -> MobilePrefixAdvertisement:
        """Tell a mobile node all prefixes (section 10.6.3)."""
        flags = _NONE
        for more in self.flags.values():
            flags |= more
        told = tuple(_information(known, now) for known in self.prefixes.values())
        return MobilePrefixAdvertisement(identifier, flags, told)

    def home_prefixes(self) -> tuple[HomePrefix, ...]:
        """Give the prefixes as bindings depend on them."""
        return tuple(
            HomePrefix(network, known.until(known.told.valid), known.until(known.told.preferred))
            for network, known in self.prefixes.items()
        )


def _information(known: Known, now: float) -> PrefixInformation:
    told = known.told
    flags = PrefixFlags(0)
    if told.on_link:
        flags |= PrefixFlags.ON_LINK
    if told.autonomous:
        flags |= PrefixFlags.AUTONOMOUS
    own_address = told.router_address and known.own  # that of another home agent would mislead
    if own_address:
        flags |= PrefixFlags.ROUTER_ADDRESS
    prefix = told.address if own_address else told.network.network_address
    return PrefixInformation(prefix, told.length, flags, known.left(told.valid, now), known.left(told.preferred, now))


def delivery_delay(minimum: float, maximum: float, preferred: float, rng: random.Random) -> float:
    """Draw how long to wait before prefixes are told unasked: RAND_ADV_DELAY (section 10.6.2).

    Never so long that the prefix is no longer preferred then: a ``minimum`` beyond that lifetime would be too late.
    """
    longest = min(maximum, preferred)
    return min(minimum + rng.uniform(0, abs(longest - minimum)), longest)


def next_solicitation(advertisement: MobilePrefixAdvertisement, home_address: IPv6Address) -> float | None:
    """Return after how many seconds a mobile node asks again; None if its home address is no longer valid.

    RFC 6275 section 11.4.2: before the home address becomes invalid, or deprecated.
    """
    for told in advertisement.prefixes:
        network = int(told.prefix) >> (128 - told.prefix_length)
        if network == int(home_address) >> (128 - told.prefix_length) and told.valid_lifetime > 0:
            lifetime = told.preferred_lifetime or told.valid_lifetime
            return math.inf if lifetime == _ENDLESS else max(_SHORTEST, _EARLY * lifetime)
    return None
