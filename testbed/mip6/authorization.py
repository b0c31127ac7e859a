"""Which mobile node may use which home address (RFC 5026 section 9.2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv6Address


@dataclass(frozen=True, slots=True)
class Ownership:
    """The home addresses of each identity, configured for it or taken by it first.

    ``configured`` names the owner of an address that is set aside, ``claimed`` of one that is in use; with
    ``first_come`` false nobody may take an address that is not configured for it. ``reserved`` are addresses
    of the home link that belong to no mobile node, such as the home agent's own.
    """

    configured: Mapping[IPv6Address, str] = field(default_factory=dict)
    claimed: Mapping[IPv6Address, str] = field(default_factory=dict)
    first_come: bool = True
    reserved: frozenset[IPv6Address] = frozenset()

    def allows(self, identity: str, home_address: IPv6Address) -> bool:
        """Whether the identity may use the home address."""
        if home_address in self.reserved:
            return False
        owner = self.configured.get(home_address) or self.claimed.get(home_address)
        return self.first_come if owner is None else owner == identity

    def addresses(self, identity: str) -> tuple[IPv6Address, ...]:
        """What to offer to an identity that asks for any address: first those configured for it."""
        known = (*self.configured.items(), *self.claimed.items())
        return tuple(dict.fromkeys(address for address, owner in known if owner == identity))

    def claim(self, identity: str, home_address: IPv6Address) -> Ownership:
        """Mark the home address as used by the identity, which has to be one that it allows."""
        return replace(self, claimed={**self.claimed, home_address: identity})

    def release(self, home_address: IPv6Address) -> Ownership:
        """Mark the home address as no longer used: at the earliest when no memory of its binding is left."""
        held = {address: owner for address, owner in self.claimed.items() if address != home_address}
        return replace(self, claimed=held)
