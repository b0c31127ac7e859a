"""The mobile node's signalling without IPsec: Home Address options, type 2 routing headers, IPv6 in IPv6."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from testbed.mip6 import home_route, wire
from testbed.mip6.carrier import Home
from testbed.mip6.journal import note
from testbed.mip6.packets import PacketSignalling
from testbed.mip6.steps import Name

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv6Address

    from testbed.mip6.carrier import HeardByMobileNode
    from testbed.mip6.discovery import HomeAgent
    from testbed.mip6.path import MobilePath
    from testbed.mip6.retransmission import SendUpdate
    from testbed.mip6.steps import Steps


class Seal(Protocol):
    """What proves a Binding Update to be ours, and its answer the home agent's."""

    def sealed(self, update: wire.BindingUpdate, action: SendUpdate) -> wire.BindingUpdate:
        """Complete an update by what proves that we sent it."""

    def proves_orders(self) -> bool:
        """Say whether it proves other messages of the home agent too."""

    def authentic(self, answer: wire.BindingAcknowledgement, octets: bytes) -> bool:
        """Say whether the answer is the home agent's, to the last update that was sealed."""


class Unprotected:
    """Nothing proves anything. For labs only."""

    def sealed(self, update: wire.BindingUpdate, _action: SendUpdate) -> wire.BindingUpdate:
        """Leave it as it is."""
        return update

    def proves_orders(self) -> bool:
        """Believe them."""
        return True

    def authentic(self, _answer: wire.BindingAcknowledgement, _octets: bytes) -> bool:
        """Believe it."""
        return True


class MobileClear:
    """The way to one home agent; a ``MobileCarrier``.

    Args:
        interface: where the mobile node is attached.
        home_address: the one that it was provisioned with.
        seal: what protects its registration.
        path: the way of its data.
    """

    def __init__(self, interface: str, home_address: IPv6Address, seal: Seal, path: MobilePath) -> None:
        self._interface = interface
        self._home_address = home_address
        self._seal = seal
        self._path = path
        self._packets: PacketSignalling | None = None
        self._prefix_length: int | None = None  # of the home link, while we are there
        self._failed: set[IPv6Address] = set()  # home agents that have not accepted us since they were last tried

    async def run(self, _lost: Callable[[], None]) -> None:
        """Do nothing: no security association ends before its binding."""
        await asyncio.get_running_loop().create_future()

    async def reach(self, agents: list[HomeAgent], care_of: IPv6Address, steps: Steps) -> Home:
        """Take the first home agent that has not failed us; whether it is one for us, the registration shows."""
        untried = [agent for agent in agents if agent.address not in self._failed]
        if not untried:
            self._failed.clear()
        home = Home((untried or agents)[0], self._home_address)
        self._failed.add(home.agent.address)  # until it accepts
        async with steps.step(Name.HOME_ADDRESS) as step:
            step.text = f"{home.address} by configuration"
            step.facts["home_address"] = home.address
        async with steps.step(Name.TUNNEL) as step:
            self._prefix_length = None
            await self._path.open(home.address, home.agent.address, care_of)
            step.text = f"IPv6 in IPv6 from {care_of} to {home.agent.address}"
        return home

    async def before_moving(self) -> None:
        """Do nothing: nothing moves by itself."""

    async def follow(self, home: Home, care_of: IPv6Address, steps: Steps) -> None:
        """Begin the tunnel at the new care-of address."""
        async with steps.step(Name.TUNNEL) as step:
            self._path.aim(home.agent.address, care_of)
            step.text = f"tunnel from {care_of} to {home.agent.address}"

    async def at_home(self, _home: Home, prefix_length: int) -> None:
        """Send nothing into the tunnel any more."""
        await self._path.close()
        self._prefix_length = prefix_length

    async def leave(self) -> None:
        """Close the tunnel and give up the home address."""
        await self._path.close()

    def open(self, home_address: IPv6Address, home_agent: IPv6Address, heard: HeardByMobileNode) -> None:
        """Hear what the home agent sends to us."""
        self.close()

        def to_us(packet: wire.IPv6Packet) -> None:
            if packet.next_header != wire.MOBILITY or packet.source != home_agent:
                return
            if packet.type2_home_address not in (None, home_address):
                note("ignored", source=packet.source, reason=f"it is for {packet.type2_home_address}")
                return
            heard(packet.payload, packet.source)

        self._packets = PacketSignalling(to_us)

    def close(self) -> None:
        """Stop to hear and to send."""
        if self._packets:
            self._packets.close()
            self._packets = None

    def send(self, update: wire.BindingUpdate, action: SendUpdate) -> None:
        """Send it from the care-of address with a Home Address option, at home from the home address."""
        if self._packets is None:
            return
        home = action.home_address
        at_home = action.care_of == home
        update = self._seal.sealed(update, action)
        option = None if at_home else home
        self._packets.send(update, action.care_of, action.home_agent, home_address_option=option)
        if at_home and self._prefix_length is not None:
            # from now on the home agent may ask for our link-layer address: RFC 6275 section 11.5.5
            home_route.come_home(home, self._prefix_length, self._interface, announce=False)

    def answer(self, message: wire.Message, update: SendUpdate) -> None:
        """Send it from the care-of address with a Home Address option."""
        if self._packets:
            home = update.home_address
            self._packets.send(message, update.care_of, update.home_agent, home_address_option=home)

    def proves_orders(self) -> bool:
        """Ask the seal."""
        return self._seal.proves_orders()

    def authentic(self, answer: wire.BindingAcknowledgement, octets: bytes) -> bool:
        """Ask the seal."""
        genuine = self._seal.authentic(answer, octets)
        if genuine and answer.accepted:
            self._failed.clear()
        return genuine
