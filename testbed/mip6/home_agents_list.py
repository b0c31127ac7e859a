"""The home agents of a home link as one of them knows them, without input, output or clock (RFC 6275 section 10.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from ipaddress import IPv6Network

    from testbed.mip6.ndisc import RouterAdvertisement

_HOME_AGENTS_ID: Final = 0x7E  # RFC 2526 section 3
_ANYCAST_BITS: Final = 0x7F  # RFC 2526 section 2
_LAST_EUI64: Final = 0xFDFF_FFFF_FFFF_FFFF
_EUI64_PREFIX: Final = 64
_DEFAULT_PREFERENCE: Final = 0  # RFC 6275 section 7.4
_LARGEST_REPLY: Final = (1280 - 40 - 8) // 16  # addresses within the minimum MTU: RFC 6275 section 10.5.1


def home_agents_anycast(prefix: IPv6Network) -> IPv6Address:
    """Give the anycast address of all home agents of a prefix (RFC 2526 sections 2 and 3)."""
    last = _LAST_EUI64 if prefix.prefixlen == _EUI64_PREFIX else int(prefix.hostmask)
    return IPv6Address(int(prefix.network_address) | last & ~_ANYCAST_BITS | _HOME_AGENTS_ID)


@dataclass(frozen=True, slots=True)
class Entry:
    """A home agent: the higher ``preference`` first, until ``expires``, with its global addresses."""

    preference: int
    expires: float
    addresses: tuple[IPv6Address, ...]


@dataclass(frozen=True, slots=True)
class HomeAgentsList:
    """The home agents of a link by their link-local addresses; times are seconds on any one clock.

    ``own`` is this home agent's own entry, which nothing that is heard changes.
    """

    own: Entry
    others: Mapping[IPv6Address, Entry]

    @classmethod
    def of(cls, address: IPv6Address, preference: int) -> HomeAgentsList:
        """Begin with the home agent itself alone."""
        return cls(Entry(preference, math.inf, (address,)), {})

    def heard(self, router: IPv6Address, advertisement: RouterAdvertisement, now: float) -> HomeAgentsList:
        """Take a Router Advertisement of another router on the link (section 10.5.1)."""
        others = {source: entry for source, entry in self.current(now).others.items() if source != router}
        information = advertisement.home_agent_information
        preference = information.preference if information else _DEFAULT_PREFERENCE
        lifetime = information.lifetime if information else advertisement.lifetime
        if advertisement.home_agent and lifetime:
            known = self.others.get(router)
            told = (prefix.address for prefix in advertisement.prefixes if prefix.router_address)
            addresses = tuple(dict.fromkeys((*(known.addresses if known else ()), *told)))
            others[router] = Entry(preference, now + lifetime, addresses)
        return replace(self, others=others)

    def current(self, now: float) -> HomeAgentsList:
        """Leave out the home agents whose lifetime has ended."""
        return replace(self, others={source: entry for source, entry in self.others.items() if now < entry.expires})

    def addresses(self, now: float, rng: random.Random) -> tuple[IPv6Address, ...]:
        """List the home agents as a reply does: by preference, among equals by chance, as many as fit."""
        entries = [self.own, *self.current(now).others.values()]
        rng.shuffle(entries)
        entries.sort(key=lambda entry: -entry.preference)
        listed = [address for entry in entries for address in rng.sample(entry.addresses, len(entry.addresses))]
        return tuple(listed[:_LARGEST_REPLY])
