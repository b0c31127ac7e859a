"""Binding Updates and Acknowledgements protected by options (RFC 4285): the home agent's side.

The order of the options: identity (RFC 4283 section 3), replay protection, then MN-HA and, if AAA is to judge, MN-AAA.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from testbed.errors import WireError
from testbed.mip6 import wire
from testbed.mip6.carrier import NO_PROOF, Proof
from testbed.mip6.journal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv6Address

    from testbed.mip6.carrier import Received

_WAITING = 64  # updates that AAA is asked about at the same time; of more, mobile nodes send the rest again


@dataclass(frozen=True, slots=True)
class MobilityAssociation:
    """A mobility security association of RFC 4285 section 5.1, and the home address that its owner may have."""

    nai: str
    home_address: IPv6Address
    spi: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """What a home agent asks AAA about an MN-AAA option (RFC 4285 section 5.2)."""

    nai: str
    care_of: IPv6Address
    home_address: IPv6Address
    digest: bytes  #: MAC_Mobility Data
    authenticator: bytes


class Aaa(Protocol):
    """Who knows the keys of mobile nodes that the home agent does not know."""

    async def authenticate(self, question: Question) -> MobilityAssociation | None:
        """Return what the mobile node may have and the key to answer it with, None if it is not who it says."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an acknowledgement takes over from its update."""

    association: MobilityAssociation
    care_of: IPv6Address
    timestamp: int | None


class HomeAuthentication:
    """The home agent's associations with mobile nodes; an ``Authentication``.

    Args:
        associations: those that are configured.
        aaa: asked about whoever else shows an MN-AAA option; None for nobody.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        associations: Iterable[MobilityAssociation],
        aaa: Aaa | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._associations = {association.nai: association for association in associations}
        self._learned: set[str] = set()
        self._latest: dict[str, int] = {}  # the last accepted timestamp of each mobile node
        self._verdicts: dict[bytes, bool] = {}  # of AAA, on messages that have not been judged yet
        self._asked: set[bytes] = set()
        self._aaa = aaa
        self._clock = clock

    def proof(self, received: Received, update: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Judge what the options prove; None if only AAA can."""
        identifier = wire.option(update, wire.MobileNodeIdentifier)
        nai = identifier.nai if identifier else None
        if nai is None:  # a mobile node must name itself: RFC 4285 section 4
            return NO_PROOF
        association = self._associations.get(nai)
        spis = {item.subtype: item.spi for item in update.options if isinstance(item, wire.MobilityAuthentication)}
        by_agent, by_aaa = wire.AuthenticationSubtype.MN_HA in spis, wire.AuthenticationSubtype.MN_AAA in spis
        accepted = self._verdicts.pop(received.octets, None)
        if self._aaa and by_aaa and _in_order(update) and not (association and by_agent):
            if accepted is None:
                return None
            if association:
                judge = self._authenticated if accepted else self._failed
                return judge(association, received, update, care_of)
        if association is None or spis.get(wire.AuthenticationSubtype.MN_HA, association.spi) != association.spi:
            return NO_PROOF  # no association, or another than ours: RFC 4285 section 5.1.1
        home = received.home_address
        genuine = wire.verify(received.octets, wire.AuthenticationSubtype.MN_HA, association.key, care_of, home)
        judge = self._authenticated if genuine and _in_order(update) else self._failed
        return judge(association, received, update, care_of)

    async def learn(self, received: Received, update: wire.BindingUpdate, care_of: IPv6Address) -> None:
        """Have AAA judge an MN-AAA option."""
        identifier = wire.option(update, wire.MobileNodeIdentifier)
        nai = identifier.nai if identifier else None
        if nai is None or self._aaa is None or received.octets in self._asked or len(self._asked) >= _WAITING:
            return
        try:
            mh_data, authenticator = wire.signed_part(received.octets, wire.AuthenticationSubtype.MN_AAA)
        except WireError:
            return
        if int.from_bytes(mh_data[-4:], "big") != wire.HMAC_SHA1_SPI:
            note("ignored", identity=nai, reason="no other hash than HMAC_SHA1 is known for MN-AAA")
            return
        digest = wire.mn_aaa_digest(care_of, received.home_address, mh_data)
        self._asked.add(received.octets)
        try:
            found = await self._aaa.authenticate(Question(nai, care_of, received.home_address, digest, authenticator))
        finally:
            self._asked.discard(received.octets)
        self._verdicts[received.octets] = found is not None
        if found:
            self._associations[nai] = found
            self._learned.add(nai)
        note("aaa", identity=nai, accepted=found is not None)

    def sealed(
        self, answer: wire.BindingAcknowledgement, home_address: IPv6Address, context: object
    ) -> wire.BindingAcknowledgement:
        """Complete an answer by identity, timestamp and MN-HA option."""
        if not isinstance(context, _Answer):
            return answer
        association = context.association
        replay = () if context.timestamp is None else (wire.ReplayProtection(context.timestamp),)
        options = (
            wire.MobileNodeIdentifier(association.nai.encode()),
            *answer.options,
            *replay,
            wire.MobilityAuthentication(wire.AuthenticationSubtype.MN_HA, association.spi),
        )
        keys = {wire.AuthenticationSubtype.MN_HA: association.key}
        return wire.sign(replace(answer, options=options), keys, context.care_of, home_address)

    def ended(self, home_address: IPv6Address) -> None:
        """Forget what AAA said about the owner of a home address: it is asked again for the next binding."""
        for nai in [nai for nai in self._learned if self._associations[nai].home_address == home_address]:
            self._learned.discard(nai)
            del self._associations[nai]

    def status(self) -> dict[str, Any]:
        """Tell who may have which home address."""
        return {str(association.home_address): nai for nai, association in self._associations.items()}

    def _authenticated(
        self, association: MobilityAssociation, received: Received, update: wire.BindingUpdate, care_of: IPv6Address
    ) -> Proof:
        """Judge home address and timestamp of who proved itself (RFC 4285 section 6)."""
        if received.home_address != association.home_address:
            note("ignored", identity=association.nai, reason=f"{received.home_address} is not its home address")
            return NO_PROOF
        replay = wire.option(update, wire.ReplayProtection)
        if replay is None:
            answer = _Answer(association, care_of, None)
            return Proof(association.nai, wire.BindingStatus.MIPV6_MESG_ID_REQD, context=answer)
        own = wire.ntp_timestamp(self._clock())
        latest = self._latest.get(association.nai)
        fresh = latest is None or wire.skew(replay.timestamp, latest) > 0
        if not fresh or abs(wire.skew(replay.timestamp, own)) > wire.TIMESTAMP_WINDOW:
            answer = _Answer(association, care_of, wire.corrected(replay.timestamp, own))
            return Proof(association.nai, wire.BindingStatus.MIPV6_ID_MISMATCH, context=answer)
        self._latest[association.nai] = replay.timestamp
        answer = _Answer(association, care_of, replay.timestamp)
        return Proof(association.nai, wire.BindingStatus.ACCEPTED, timely=True, context=answer)

    def _failed(
        self, association: MobilityAssociation, _received: Received, update: wire.BindingUpdate, care_of: IPv6Address
    ) -> Proof:
        """Tell whoever says to be a mobile node that he did not prove it (RFC 4285 section 5.3)."""
        replay = wire.option(update, wire.ReplayProtection)
        answer = _Answer(association, care_of, replay.timestamp if replay else None)
        return Proof(association.nai, wire.BindingStatus.MIPV6_AUTH_FAIL, context=answer)


def _in_order(update: wire.BindingUpdate) -> bool:
    """Whether what authenticates stands last, MN-HA before MN-AAA, each at most once (RFC 4285 section 5)."""
    kinds = [item.subtype if isinstance(item, wire.MobilityAuthentication) else 0 for item in update.options]
    last = [kind for kind in kinds if kind]
    return bool(last) and kinds[-len(last) :] == last == sorted(set(last))
