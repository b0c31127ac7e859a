"""The home agent's side of a home registration: one Binding Cache entry, without input, output or clock.

::

    none       -- new binding ----------------------------------------> DadPending
    DadPending -- the address is unique ------------------------------> Bound
    DadPending -- duplicate, refusal, owner gone, probe never ended --> none
    Bound      -- refresh, movement ----------------------------------> Bound
    Bound      -- expiry, revocation, owner gone, service refused ----> none
    DadPending, Bound -- lifetime 0 ----------------------------------> Deleted
    Deleted    -- 10 s -----------------------------------------------> none

Every function takes the entry of one home address, None if there is none, and gives back the next entry and
what the agent has to do, in that order. Times are seconds on any one clock that never goes back. Sections
without an RFC are those of RFC 6275.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from testbed.mip6.policy import is_routable, is_unicast
from testbed.mip6.wire import LIFETIME_UNIT, AckFlags, BindingFlags, BindingStatus, NonceIndices, option

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from testbed.mip6.policy import HomePrefix, Policy, Request

_SEQUENCES: Final = 1 << 16  # section 9.5.1
_NO_FLAGS: Final = AckFlags(0)
_UNPROVEN: Final = frozenset(  # refusals of RFC 4285 section 8: the sender may be anybody
    (BindingStatus.MIPV6_ID_MISMATCH, BindingStatus.MIPV6_MESG_ID_REQD, BindingStatus.MIPV6_AUTH_FAIL)
)


class Reason(StrEnum):
    """Why a home agent no longer serves a home address."""

    DEREGISTERED = "the mobile node deleted its binding"
    EXPIRED = "its lifetime ended"
    SERVICE_REFUSED = "the mobile node may no longer use the service"
    REVOKED = "the operator revoked it"
    PREFIX_INVALID = "the home prefix is no longer valid"
    OWNER_GONE = "the security association of the mobile node is gone"


@dataclass(frozen=True, slots=True)
class DadPending:
    """A new binding whose home address is being probed; ``request`` is the latest (section 10.3.1)."""

    request: Request
    also_link_local: bool
    expires: float

    @property
    def home_address(self) -> IPv6Address:
        """The address that is being probed."""
        return self.request.home_address

    @property
    def identity(self) -> str:
        """Who asks for the binding."""
        return self.request.identity

    @property
    def sequence(self) -> int:
        """The last accepted sequence number."""
        return self.request.update.sequence


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding that the home agent serves until ``expires`` (section 9.1)."""

    home_address: IPv6Address
    identity: str
    sequence: int
    expires: float
    care_of: IPv6Address
    lifetime_units: int
    also_link_local: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """The memory of a deleted binding, by which a late update is known as such (section 10.3.2)."""

    home_address: IPv6Address
    identity: str
    sequence: int
    expires: float


Entry: TypeAlias = DadPending | Bound | Deleted


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Send a Binding Acknowledgement, if ``type2`` by a type 2 routing header (section 9.5.4).

    ``refresh_advice_units`` is the interval of a Binding Refresh Advice option, None for no option; ``context`` is the
    request's.
    """

    status: BindingStatus
    sequence: int
    lifetime_units: int
    flags: AckFlags
    refresh_advice_units: int | None
    destination: IPv6Address
    care_of: IPv6Address
    home_address: IPv6Address
    type2: bool
    context: object = None


@dataclass(frozen=True, slots=True)
class ProbeHomeAddress:
    """Start Duplicate Address Detection on the home link; ``dad_done`` takes its result (section 10.3.1)."""

    home_address: IPv6Address
    also_link_local: bool


@dataclass(frozen=True, slots=True)
class StopProbe:
    """Abandon Duplicate Address Detection: its result no longer matters."""

    home_address: IPv6Address


@dataclass(frozen=True, slots=True)
class Intercept:
    """Start to defend the home address and to tunnel its packets (section 10.4)."""

    home_address: IPv6Address
    care_of: IPv6Address
    also_link_local: bool


@dataclass(frozen=True, slots=True)
class Retarget:
    """Tunnel to the care-of address ``new`` and accept reverse tunnels from there only (section 10.4.5)."""

    home_address: IPv6Address
    old: IPv6Address
    new: IPv6Address


@dataclass(frozen=True, slots=True)
class KeyManagement:
    """Move the IKE peer from ``old`` to ``new`` if it ``survives``, else discard it (section 10.3.1)."""

    home_address: IPv6Address
    old: IPv6Address
    new: IPv6Address
    survives: bool


@dataclass(frozen=True, slots=True)
class Release:
    """Stop to defend the home address and to tunnel its packets (section 10.3.2)."""

    home_address: IPv6Address
    reason: Reason


@dataclass(frozen=True, slots=True)
class Discard:
    """Drop the Binding Update in silence, as ``section`` asks."""

    reason: str
    section: str


Action: TypeAlias = (
    Acknowledge | ProbeHomeAddress | StopProbe | Intercept | Retarget | KeyManagement | Release | Discard
)


@dataclass(frozen=True, slots=True)
class Step:
    """The entry from now on, and what to do, in this order."""

    entry: Entry | None
    actions: tuple[Action, ...] = ()


_HOME_ADDRESS: Final = Discard("the home address is not unicast routable", "RFC 6275 section 9.5.1")
_SOURCE: Final = Discard("the source address is not unicast", "RFC 6275 section 9.5.4")
_NONCE_INDICES: Final = Discard("a home registration with nonce indices", "RFC 6275 section 9.5.1")
_NO_OWNER: Final = Discard("no security association owns the home address", "RFC 6275 section 10.3.1")
_OTHER_OWNER: Final = Discard("the home address is bound to another identity", "RFC 5026 section 9.2")
_CARE_OF: Final = Discard("the care-of address is not unicast routable", "RFC 6275 section 6.1.7")


def newer(sequence: int, last: int) -> bool:
    """Whether a sequence number follows the last accepted one, modulo 2**16 (section 9.5.1)."""
    return 0 < (sequence - last) % _SEQUENCES < _SEQUENCES // 2


def deadline(entry: Entry | None) -> float | None:
    """When ``expire`` has to be called, None for never."""
    return None if entry is None else entry.expires


def receive(entry: Entry | None, request: Request, policy: Policy, now: float) -> Step:
    """Judge a Binding Update that the codec found well-formed (sections 9.5.1 and 10.3)."""
    if entry is not None and now >= entry.expires:
        end = expire(entry, now)
        step = receive(end.entry, request, policy, now)
        return Step(step.entry, end.actions + step.actions)
    prefix = policy.home_prefix(request.home_address, now)
    discard = _discard(entry, request, prefix)
    if discard is not None:
        return Step(entry, (discard,))
    invalid = _invalid(entry, request)
    if invalid is not None:
        return Step(entry, (invalid,))
    status = _refusal(entry, request, prefix, policy)
    if prefix is None or status is not None:
        return _refuse(entry, request, status or BindingStatus.NOT_HOME_SUBNET)
    if not is_routable(request.care_of):
        return Step(entry, (_CARE_OF,))
    return _serve(entry, request, prefix, policy, now)


def _discard(entry: Entry | None, request: Request, prefix: HomePrefix | None) -> Discard | None:
    """Why the update gets no answer, as far as that comes before every answer."""
    home = request.home_address
    if not is_routable(home) or (prefix is not None and prefix.is_anycast(home)):
        return _HOME_ADDRESS
    if not is_unicast(request.source):
        return _SOURCE
    if BindingFlags.H in request.update.flags and option(request.update, NonceIndices) is not None:
        return _NONCE_INDICES
    if request.authorization is None:
        return _NO_OWNER
    if entry is not None and entry.identity != request.identity:
        return _OTHER_OWNER
    return None


def _invalid(entry: Entry | None, request: Request) -> Acknowledge | None:
    """Answer an update that may change nothing, not even the last sequence number (section 9.5.1)."""
    if request.authorization in _UNPROVEN:
        return _acknowledge(request, request.authorization)
    if entry is None:
        return None
    if not (request.timely or newer(request.update.sequence, entry.sequence)):
        refusal = _acknowledge(request, BindingStatus.SEQUENCE_NUMBER_OUT_OF_WINDOW)
        return replace(refusal, sequence=entry.sequence)
    if not (isinstance(entry, Deleted) or BindingFlags.H in request.update.flags):
        return _acknowledge(request, BindingStatus.REGISTRATION_TYPE_CHANGE_DISALLOWED)
    return None


def _refusal(entry: Entry | None, request: Request, prefix: HomePrefix | None, policy: Policy) -> BindingStatus | None:
    """Why a valid update has to be refused (section 10.3.1)."""
    if not (policy.home_agent and BindingFlags.H in request.update.flags):
        return BindingStatus.HOME_REGISTRATION_NOT_SUPPORTED
    if prefix is None:
        return BindingStatus.NOT_HOME_SUBNET
    if request.authorization is not BindingStatus.ACCEPTED:
        return request.authorization
    is_new = request.update.lifetime_units and (entry is None or isinstance(entry, Deleted))
    if is_new and request.bindings >= policy.maximum_bindings:
        return BindingStatus.INSUFFICIENT_RESOURCES
    return None


def _refuse(entry: Entry | None, request: Request, status: BindingStatus) -> Step:
    """Refuse; what is bound stays bound, unless to a service that is refused now (RFC 5149 section 4.2)."""
    answer = _acknowledge(request, status)
    match entry:
        case None:
            return Step(None, (answer,))
        case DadPending():
            return Step(None, (StopProbe(entry.home_address), answer))
        case Bound() if status is BindingStatus.SERVICE_AUTHORIZATION_FAILED:
            return Step(None, (Release(entry.home_address, Reason.SERVICE_REFUSED), answer))
    return Step(replace(entry, sequence=request.update.sequence), (answer,))


def _serve(entry: Entry | None, request: Request, prefix: HomePrefix, policy: Policy, now: float) -> Step:
    """Do what the update asks for (sections 10.3.1 and 10.3.2)."""
    if request.update.lifetime_units == 0:
        return _delete(entry, request, policy, now)
    if request.care_of == request.home_address:  # its packets would be tunnelled back to the home link
        return _refuse(entry, request, BindingStatus.INVALID_CARE_OF_ADDRESS)
    match entry:
        case Bound():
            return _refresh(entry, request, prefix, policy, now)
        case DadPending():
            return Step(replace(entry, request=request))
    also_link_local = BindingFlags.L in request.update.flags
    pending = DadPending(request, also_link_local, now + policy.dad_timeout)
    return Step(pending, (ProbeHomeAddress(request.home_address, also_link_local),))


def _delete(entry: Entry | None, request: Request, policy: Policy, now: float) -> Step:
    """Delete the binding and remember it for a while (section 10.3.2)."""
    if entry is None:
        status = BindingStatus.NOT_HOME_AGENT_FOR_THIS_MOBILE_NODE
        return Step(None, (_acknowledge(request, status),))
    home = entry.home_address
    actions: tuple[Action, ...] = ()
    if isinstance(entry, DadPending):
        actions = (StopProbe(home),)
    elif isinstance(entry, Bound):
        keys = _key_management(request, entry.care_of, home, policy)
        actions = (Release(home, Reason.DEREGISTERED), *keys)
    memory = Deleted(home, entry.identity, request.update.sequence, now + policy.delete_timeout)
    answer = _acknowledge(request, BindingStatus.ACCEPTED, flags=policy.flags(request))
    return Step(memory, (*actions, answer))


def _refresh(entry: Bound, request: Request, prefix: HomePrefix, policy: Policy, now: float) -> Step:
    """Extend the binding; after a movement, tunnel and IKE peer follow (section 10.3.1)."""
    bound, answer = _bind(request, entry.also_link_local, prefix, policy, now)
    if request.care_of == entry.care_of:
        return Step(bound, (answer,))
    move = Retarget(entry.home_address, entry.care_of, request.care_of)
    keys = _key_management(request, entry.care_of, request.care_of, policy)
    return Step(bound, (move, *keys, answer))


def _bind(
    request: Request, also_link_local: bool, prefix: HomePrefix, policy: Policy, now: float
) -> tuple[Bound, Acknowledge]:
    grant = policy.grant(request, prefix, now)
    bound = Bound(
        request.home_address,
        request.identity,
        request.update.sequence,
        now + grant.lifetime_units * LIFETIME_UNIT,
        request.care_of,
        grant.lifetime_units,
        also_link_local,
    )
    return bound, _acknowledge(request, *grant)


def _key_management(request: Request, old: IPv6Address, new: IPv6Address, policy: Policy) -> tuple[KeyManagement, ...]:
    """What becomes of the IKE connection, if there is one, when its peer moves (section 10.3.1)."""
    if not request.dynamic_keys:
        return ()
    return (KeyManagement(request.home_address, old, new, bool(policy.flags(request))),)


def _acknowledge(
    request: Request,
    status: BindingStatus,
    lifetime_units: int = 0,
    flags: AckFlags = _NO_FLAGS,
    refresh_advice_units: int | None = None,
) -> Acknowledge:
    """Answer an update to where it came from (section 9.5.4)."""
    return Acknowledge(
        status,
        request.update.sequence,
        lifetime_units,
        flags,
        refresh_advice_units,
        request.source,
        request.care_of,
        request.home_address,
        request.home_address_option,
        request.context,
    )


def dad_done(entry: Entry | None, unique: bool, policy: Policy, now: float) -> Step:
    """Take the result of Duplicate Address Detection; it means nothing once the probe was stopped."""
    if not isinstance(entry, DadPending):
        return Step(entry)
    home, request = entry.home_address, entry.request
    if not unique:
        return Step(None, (_acknowledge(request, BindingStatus.DUPLICATE_ADDRESS_DETECTION_FAILED),))
    prefix = policy.home_prefix(home, now)
    if prefix is None:
        return Step(None, (_acknowledge(request, BindingStatus.NOT_HOME_SUBNET),))
    bound, answer = _bind(request, entry.also_link_local, prefix, policy, now)
    keys = _key_management(request, home, request.care_of, policy)
    return Step(bound, (Intercept(home, request.care_of, entry.also_link_local), *keys, answer))


def expire(entry: Entry | None, now: float) -> Step:
    """End what has reached its deadline; before that, nothing changes (sections 9.6 and 10.3.2)."""
    if entry is None or now < entry.expires:
        return Step(entry)
    match entry:
        case DadPending():
            answer = _acknowledge(entry.request, BindingStatus.INSUFFICIENT_RESOURCES)
            return Step(None, (StopProbe(entry.home_address), answer))
        case Bound():
            return Step(None, (Release(entry.home_address, Reason.EXPIRED),))
    return Step(None)


def revoke(entry: Entry | None, reason: Reason) -> Step:
    """End a binding because operator or prefix demand it; a pending one is refused (section 10.3.1)."""
    match entry:
        case DadPending():
            answer = _acknowledge(entry.request, BindingStatus.ADMINISTRATIVELY_PROHIBITED)
            return Step(None, (StopProbe(entry.home_address), answer))
        case Bound():
            return Step(None, (Release(entry.home_address, reason),))
    return Step(entry)


def owner_gone(entry: Entry | None) -> Step:
    """End a binding whose security association was deleted: nothing could protect an answer (section 5.1)."""
    match entry:
        case DadPending():
            return Step(None, (StopProbe(entry.home_address),))
        case Bound():
            return Step(None, (Release(entry.home_address, Reason.OWNER_GONE),))
    return Step(entry)
