"""The home agent's signalling without IPsec: Home Address options and type 2 routing headers in clear, IPv6 in IPv6.

Who sent a message is a matter of its ``Authentication``: RFC 4285's options, or in a lab nothing at all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from testbed.mip6 import wire
from testbed.mip6.carrier import NO_PROOF, Gone, Heard, Proof, Received
from testbed.mip6.journal import note
from testbed.mip6.limit import Limit
from testbed.mip6.packets import PacketSignalling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv6Address

    from testbed.mip6.path import HomePath

_SECURED = (50, 51)  # ESP and AH, whose Home Address option is judged after them: RFC 6275 section 9.3.1


class Authentication(Protocol):
    """What proves the sender of a Binding Update, and the home agent to him."""

    def proof(self, received: Received, update: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Return what is known of the sender, None if ``learn`` may find out more."""

    async def learn(self, received: Received, update: wire.BindingUpdate, care_of: IPv6Address) -> None:
        """Ask who knows the sender."""

    def sealed(
        self, answer: wire.BindingAcknowledgement, home_address: IPv6Address, context: object
    ) -> wire.BindingAcknowledgement:
        """Complete an answer by what proves that the home agent gave it; ``context`` is the proof's."""

    def ended(self, home_address: IPv6Address) -> None:
        """Forget what concerned the binding of a home address only."""

    def status(self) -> dict[str, Any]:
        """Tell who may have which home address."""


class Unprotected:
    """Nothing proves anything: whoever names a home address is taken for its owner. For labs only."""

    def __init__(self, owners: Mapping[IPv6Address, str]) -> None:
        self._owners = owners

    def proof(self, received: Received, _update: wire.BindingUpdate, _care_of: IPv6Address) -> Proof | None:
        """Look up whose the home address is."""
        owner = self._owners.get(received.home_address)
        return Proof(owner, wire.BindingStatus.ACCEPTED) if owner else NO_PROOF

    async def learn(self, received: Received, update: wire.BindingUpdate, care_of: IPv6Address) -> None:
        """Do nothing: all is known."""

    def sealed(
        self, answer: wire.BindingAcknowledgement, _home_address: IPv6Address, _context: object
    ) -> wire.BindingAcknowledgement:
        """Leave it as it is."""
        return answer

    def ended(self, home_address: IPv6Address) -> None:
        """Do nothing: owners are configured."""

    def status(self) -> dict[str, Any]:
        """Tell the owners."""
        return {str(home): owner for home, owner in self._owners.items()}


class HomeClear:
    """Signalling and payload of all mobile nodes in clear; a ``HomeAgentCarrier``."""

    def __init__(self, address: IPv6Address, authentication: Authentication, path: HomePath) -> None:
        self._address = address
        self._authentication = authentication
        self._path = path
        self._bound: dict[IPv6Address, IPv6Address] = {}
        self._packets: PacketSignalling | None = None
        self._errors = Limit()

    async def run(self, heard: Heard, _gone: Gone) -> None:
        """Hear what comes to the home agent's address, until cancelled; nothing ends but by its lifetime."""

        def to_us(packet: wire.IPv6Packet) -> None:
            if packet.type2_home_address is not None:
                note("ignored", source=packet.source, reason="a type 2 routing header leads to no mobile node here")
            elif packet.next_header == wire.MOBILITY:
                with_option = packet.home_address_option is not None
                heard(Received(packet.payload, packet.upper_source, packet.source, packet.source, with_option))
            elif packet.home_address_option is not None:
                self._not_mobility(packet, packet.home_address_option)

        with PacketSignalling(to_us, self._address) as self._packets:
            await asyncio.get_running_loop().create_future()

    def proof(self, received: Received, message: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Return what the message proves."""
        return self._authentication.proof(received, message, care_of)

    async def learn(self, received: Received, message: wire.BindingUpdate, care_of: IPv6Address) -> None:
        """Ask who knows the sender."""
        await self._authentication.learn(received, message, care_of)

    def last_word(self, _received: Received) -> Proof:
        """Be silent: nobody knows the sender (RFC 4285 section 5.3)."""
        return NO_PROOF

    def send(
        self,
        message: wire.Message,
        home_address: IPv6Address,
        destination: IPv6Address,
        *,
        type2: bool,
        context: object = None,
    ) -> None:
        """Send a message, an acknowledgement with what proves it ours."""
        if self._packets is None:
            raise AssertionError("it does not run")
        if isinstance(message, wire.BindingAcknowledgement):
            message = self._authentication.sealed(message, home_address, context)
        self._packets.send(message, self._address, destination, type2_home_address=home_address if type2 else None)

    async def admit(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Open the tunnel, both ways."""
        self._bound[home_address] = care_of
        await self._path.admit(home_address, care_of)

    async def retarget(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Move the tunnel."""
        old, self._bound[home_address] = self._bound[home_address], care_of
        await self._path.retarget(home_address, old, care_of)

    async def expel(self, home_address: IPv6Address) -> None:
        """Close the tunnel."""
        self._authentication.ended(home_address)
        await self._path.expel(home_address, self._bound.pop(home_address))

    def status(self) -> dict[str, Any]:
        """Tell who may have which home address."""
        return self._authentication.status()

    def _not_mobility(self, packet: wire.IPv6Packet, home_address: IPv6Address) -> None:
        """Judge a Home Address option before anything else than a Mobility Header (RFC 6275 section 9.3.1)."""
        if packet.next_header in _SECURED or self._bound.get(home_address) == packet.source:
            return
        note("no binding", home_address=home_address, source=packet.source, next_header=packet.next_header)
        nobody = packet.source.is_multicast or packet.source.is_unspecified
        if self._packets is None or nobody or not self._errors.permits():
            return
        answer = wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, home_address)
        try:
            self._packets.send(answer, self._address, packet.source)
        except OSError as error:
            note("not sent", destination=packet.source, reason=str(error))
