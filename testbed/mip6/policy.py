"""What a home agent is asked for and what it grants: RFC 6275 section 10.3.1, without I/O or clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from testbed.mip6.wire import LIFETIME_UNIT, AckFlags, BindingFlags, BindingStatus

if TYPE_CHECKING:
    from ipaddress import IPv6Address, IPv6Network

    from testbed.mip6.wire import BindingUpdate

MAX_DELETE_BCE_TIMEOUT: Final = 10.0  # seconds: RFC 6275 section 12

_ENDLESS: Final = 0xFFFFFFFF  # a prefix lifetime that never ends, in seconds: RFC 4861 section 4.6.2
_MULTICAST: Final = 0xFF  # ff00::/8: RFC 4291 section 2.4
_SCOPED: Final = (0x3FA, 0x3FB)  # fe80::/10 and fec0::/10: RFC 4291 sections 2.4 and 2.5.7
_IPV4: Final = (0, 0xFFFF)  # ::/96 and ::ffff:0:0/96: RFC 4291 section 2.5
_ANYCAST_IDS: Final = 0x7F  # as many of the last interface identifiers are reserved: RFC 2526 section 2
_LAST_EUI64: Final = 0xFDFF_FFFF_FFFF_FFFF
_EUI64_PREFIX: Final = 64
_NO_FLAGS: Final = AckFlags(0)


def is_unicast(address: IPv6Address) -> bool:
    """Whether the address is neither multicast nor unspecified (RFC 4291 section 2.4)."""
    value = int(address)
    return value != 0 and value >> 120 != _MULTICAST


def is_routable(address: IPv6Address) -> bool:
    """Whether the address is unicast and of more than link or site scope (RFC 6275 section 3.1).

    Loopback and addresses that stand for IPv4 ones are not.
    """
    value = int(address)
    return value >> 32 not in _IPV4 and value >> 120 != _MULTICAST and value >> 118 not in _SCOPED


@dataclass(frozen=True, slots=True)
class HomePrefix:
    """A prefix of the home link, and the times until which it is valid and preferred (section 10.3.1)."""

    network: IPv6Network
    valid_until: float = math.inf
    preferred_until: float = math.inf

    def is_anycast(self, address: IPv6Address) -> bool:
        """Whether an address of the prefix is an anycast one (RFC 4291 section 2.6.1, RFC 2526 section 2)."""
        hosts = int(self.network.hostmask)
        host = int(address) & hosts
        last = _LAST_EUI64 if self.network.prefixlen == _EUI64_PREFIX else hosts
        return host == 0 or host | _ANYCAST_IDS == last


@dataclass(frozen=True, slots=True)
class Request:
    """A Binding Update as a home agent received it, and what the agent found out about its sender.

    Attributes:
        update: the message.
        home_address: of the Home Address option, else the (inner) source address.
        source: where the packet came from and its answer goes to; of a tunnel, the outer address.
        care_of: of the Alternate Care-of Address option, else ``source``.
        identity: who owns the security association or the authentication key.
        authorization: ACCEPTED if the identity may register the home address, a refusal to tell it, or None
            if nobody's security association covers the home address, which means silence.
        home_address_option: whether the packet had one.
        dynamic_keys: whether IKE made the security associations.
        timely: whether a timestamp has shown that the update is new, so that its sequence number does not
            count (RFC 4285 section 6).
        bindings: how many home addresses the agent serves now.
        context: what the answer has to be given back with; it means nothing here.

    RFC 6275 sections 9.5.1 and 10.3.1.
    """

    update: BindingUpdate
    home_address: IPv6Address
    source: IPv6Address
    care_of: IPv6Address
    identity: str
    authorization: BindingStatus | None
    home_address_option: bool = True
    dynamic_keys: bool = False
    timely: bool = False
    bindings: int = 0
    context: object = None


class Grant(NamedTuple):
    """What the acknowledgement of a registration says; no advice means no option (section 10.3.1)."""

    status: BindingStatus
    lifetime_units: int
    flags: AckFlags
    refresh_advice_units: int | None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a home agent offers.

    Attributes:
        prefixes: the prefixes of the home link.
        home_agent: whether it is one, not a correspondent node only.
        maximum_lifetime: the longest lifetime of a binding, in seconds; one of 4 s is always granted.
        maximum_bindings: how many home addresses it serves at most.
        refresh_advice: the interval to advise, in seconds; None also if bindings outlive the agent's restart.
        key_mobility: whether it can move its IKE peer to a new care-of address.
        dad_timeout: how long Duplicate Address Detection may take until it counts as broken, in seconds.
        delete_timeout: how long a deleted binding is remembered, in seconds.

    RFC 6275 section 10.3.
    """

    prefixes: tuple[HomePrefix, ...]
    home_agent: bool = True
    maximum_lifetime: int = 3600
    maximum_bindings: int = 1024
    refresh_advice: int | None = None
    key_mobility: bool = False
    dad_timeout: float = 5.0
    delete_timeout: float = MAX_DELETE_BCE_TIMEOUT

    def home_prefix(self, address: IPv6Address, now: float) -> HomePrefix | None:
        """The home prefix of the address, if it stays valid for a unit of lifetime or more."""
        for prefix in self.prefixes:
            if address in prefix.network and prefix.valid_until - now >= LIFETIME_UNIT:
                return prefix
        return None

    def flags(self, request: Request) -> AckFlags:
        """K, if mobile node, security associations and this home agent can all follow a movement."""
        follows = self.key_mobility and request.dynamic_keys and BindingFlags.K in request.update.flags
        return AckFlags.K if follows else _NO_FLAGS

    def grant(self, request: Request, prefix: HomePrefix, now: float) -> Grant:
        """Grant a lifetime: not more than was asked for, nor more than the prefix stays valid."""
        valid, preferred = _units(prefix.valid_until - now), _units(prefix.preferred_until - now)
        offer = max(1, self.maximum_lifetime // LIFETIME_UNIT)
        units = min(request.update.lifetime_units, valid, offer)
        status = BindingStatus.ACCEPTED
        if preferred < units or valid == units:
            status = BindingStatus.ACCEPTED_PREFIX_DISCOVERY_NECESSARY
        advice = None if self.refresh_advice is None else self.refresh_advice // LIFETIME_UNIT
        if advice is not None and not 0 < advice < units:
            advice = None
        return Grant(status, units, self.flags(request), advice)


def _units(seconds: float) -> int:
    """A prefix lifetime in units of four seconds, without its two least significant bits (section 10.3.1)."""
    return int(min(max(seconds, 0), _ENDLESS)) >> 2
