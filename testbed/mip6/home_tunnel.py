"""The home agent's end of ESP tunnels (RFC 4877 section 3, tunnel mode), made by charon for whoever the AAA accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testbed.mip6 import charon, guard, wire
from testbed.mip6.carrier import NO_PROOF, Gone, Heard, Proof, Received
from testbed.mip6.journal import note
from testbed.mip6.signalling import Signalling

if TYPE_CHECKING:
    from ipaddress import IPv6Address


class HomeTunnel:
    """The tunnels of all mobile nodes; a ``HomeAgentCarrier``.

    Whoever has a tunnel was authorised by the AAA for exactly the home address that the tunnel has for selector, so
    the inner source of what comes out of it proves the sender.
    """

    def __init__(self, address: IPv6Address, charon_of_node: charon.Charon) -> None:
        self._address = address
        self._charon = charon_of_node
        self._owners: dict[IPv6Address, charon.SecurityAssociation] = {}
        self._signalling: Signalling | None = None

    async def run(self, heard: Heard, gone: Gone) -> None:
        """Hear what comes out of tunnels, and follow charon's security associations, until cancelled."""

        def out_of_tunnel(octets: bytes, source: IPv6Address) -> None:
            owner = self._owners.get(source)
            outer = owner.peer if owner else source
            heard(Received(octets, source, outer, reply_to=source, home_address_option=False))

        with Signalling(self._address, out_of_tunnel) as self._signalling:
            async for notice in self._charon.notices():
                self._notice(notice, gone)

    def proof(self, received: Received, _message: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Return whose tunnel it is; the guard lets in only what came out of one."""
        owner = self._owners.get(received.home_address)
        if owner is None:
            return None
        if care_of not in (owner.peer, received.home_address):
            return None
        return Proof(owner.identity, wire.BindingStatus.ACCEPTED)

    def last_word(self, received: Received) -> Proof:
        """Refuse a care-of address that is not the tunnel's, be silent to whoever has no tunnel.

        The tunnel leads to the care-of address that IKE knows: a binding to another would not be the truth.
        """
        owner = self._owners.get(received.home_address)
        return Proof(owner.identity, wire.BindingStatus.INVALID_CARE_OF_ADDRESS) if owner else NO_PROOF

    async def learn(self, _received: Received, _message: wire.BindingUpdate, _care_of: IPv6Address) -> None:
        """Ask charon: a message may be faster than its notices."""
        for association in await self._charon.associations():
            for home in association.peer_addresses:
                self._owners[home] = association

    def send(
        self,
        message: wire.Message,
        home_address: IPv6Address,
        _destination: IPv6Address,
        *,
        type2: bool,
        context: object = None,  # noqa: ARG002 - what comes out of a tunnel needs no more proof
    ) -> None:
        """Send a message into the tunnel of a home address; there are no routing headers in it."""
        if type2 or self._signalling is None:
            raise AssertionError("a tunnel needs no routing header")
        self._signalling.send(message, home_address)

    async def admit(self, home_address: IPv6Address, _care_of: IPv6Address) -> None:
        """Open the guard; charon's route leads into the tunnel."""
        await guard.admit(home_address)

    async def retarget(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Do nothing: MOBIKE moved the tunnel before the Binding Update came through it."""

    async def expel(self, home_address: IPv6Address) -> None:
        """Close the guard."""
        await guard.expel(home_address)

    def status(self) -> dict[str, Any]:
        """Tell who has a tunnel."""
        return {str(home): owner.identity for home, owner in self._owners.items()}

    def _notice(self, notice: charon.Notice, gone: Gone) -> None:
        association = notice.association
        for home in association.peer_addresses:
            owner = self._owners.get(home)
            if notice.kind == "ike-updown" and notice.up:
                self._owners[home] = association
                note("security association", home_address=home, identity=association.identity, up=True)
            elif owner is None or owner.number != association.number:
                continue  # of an older association with the same home address
            elif notice.kind == "ike-updown":
                del self._owners[home]
                note("security association", home_address=home, identity=association.identity, up=False)
                gone(home)
            elif notice.kind == "ike-update" and notice.new_peer:
                self._owners[home] = charon.moved(association, notice.new_peer)
                note("peer moved", home_address=home, peer=notice.new_peer)
