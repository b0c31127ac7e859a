"""The mobile node's end of an ESP tunnel (RFC 4877 section 3, tunnel mode), made by charon with a password."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from testbed.errors import NotReadyError
from testbed.mip6 import charon, guard, home_route
from testbed.mip6.carrier import Home
from testbed.mip6.signalling import Signalling
from testbed.mip6.steps import Name

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv6Address

    from testbed.mip6 import wire
    from testbed.mip6.carrier import HeardByMobileNode
    from testbed.mip6.discovery import HomeAgent
    from testbed.mip6.retransmission import SendUpdate
    from testbed.mip6.steps import Steps

_CONNECTION = "home"
_IKE_DEADLINE = 20.0
_MOBIKE_DEADLINE = 30.0
_LOOK_AGAIN = 0.005  # seconds between looks at charon's CHILD_SAs if it tells nothing


class MobileTunnel:
    """One tunnel to one home agent; a ``MobileCarrier``.

    Args:
        charon_of_node: has the password and the trust anchor already.
        nai: the mobile node's identity.
        tunnel_interface: whether the tunnel is an interface, because charon does ESP itself.
    """

    def __init__(self, charon_of_node: charon.Charon, nai: str, *, tunnel_interface: bool) -> None:
        self._charon = charon_of_node
        self._nai = nai
        self._tunnel_interface = tunnel_interface
        self._association: int | None = None
        self._home_address: IPv6Address | None = None
        self._noticed = asyncio.Condition()
        self._old_children: frozenset[int] = frozenset()
        self._signalling: Signalling | None = None

    async def run(self, lost: Callable[[], None]) -> None:
        """Follow charon until cancelled."""
        async for notice in self._charon.notices():
            async with self._noticed:
                self._noticed.notify_all()
            gone = notice.kind == "ike-updown" and not notice.up
            if gone and notice.association.number == self._association:
                lost()

    async def reach(self, agents: list[HomeAgent], _care_of: IPv6Address, steps: Steps) -> Home:
        """Prove ourselves, get a home address and a tunnel."""
        agent, association = await self._authenticate(agents, steps)
        self._association = association.number
        async with steps.step(Name.HOME_ADDRESS) as step:
            home = await self._adopt(agent, association)
            step.text = f"{home.address} by configuration payload"
            step.facts["home_address"] = home.address
        async with steps.step(Name.TUNNEL) as step:
            await self._tunnel(home)
            step.text = f"ESP {home.address} === ::/0 by CREATE_CHILD_SA"
        return home

    async def before_moving(self) -> None:
        """Note the CHILD_SAs: charon's own ESP makes new ones in their place."""
        association = await self._established()
        self._old_children = association.children if association else frozenset()

    async def follow(self, home: Home, care_of: IPv6Address, steps: Steps) -> None:
        """Wait until charon moved the IKE_SA to the new care-of address (RFC 4555), and the tunnel with it."""
        async with steps.step(Name.MOBIKE) as step:
            await self._follow_mobike(care_of)
            step.text = f"tunnel from {care_of} to {home.agent.address}"

    async def at_home(self, home: Home, prefix_length: int) -> None:
        """Do nothing: the deletion goes through the tunnel."""

    async def leave(self) -> None:
        """Give up the security associations and the home address."""
        self._association = None
        for association in await self._charon.associations():
            await self._charon.terminate(association.number)
        home_address, self._home_address = self._home_address, None
        if home_address:
            home_route.give_up(home_address, tunnel_interface=self._tunnel_interface)
            await guard.let_loose(home_address)

    def open(self, home_address: IPv6Address, _home_agent: IPv6Address, heard: HeardByMobileNode) -> None:
        """Hear what comes out of the tunnel."""
        self.close()
        self._signalling = Signalling(home_address, heard)

    def close(self) -> None:
        """Stop to hear and to send."""
        if self._signalling:
            self._signalling.close()
            self._signalling = None

    def send(self, update: wire.BindingUpdate, action: SendUpdate) -> None:
        """Send it into the tunnel."""
        if self._signalling:
            self._signalling.send(update, action.home_agent)

    def answer(self, message: wire.Message, update: SendUpdate) -> None:
        """Send it into the tunnel."""
        if self._signalling:
            self._signalling.send(message, update.home_agent)

    def proves_orders(self) -> bool:
        """Say yes, likewise."""
        return True

    def authentic(self, _answer: wire.BindingAcknowledgement, _octets: bytes) -> bool:
        """Say yes: the guard lets in only what came out of the tunnel."""
        return True

    async def _authenticate(
        self, agents: list[HomeAgent], steps: Steps
    ) -> tuple[HomeAgent, charon.SecurityAssociation]:
        """Establish an IKE_SA with the first home agent that can be trusted and trusts us (RFC 5026 section 5.1.2)."""
        failures: list[str] = []
        async with steps.step(Name.IKE) as step:
            for agent in agents:
                try:
                    association = await self._establish(agent)
                except charon.IkeError as error:
                    failures += [f"{agent.name} at {agent.address}: {error.message}", *error.evidence]
                    continue
                step.text = f"{agent.name} proved itself by certificate, {self._nai} by EAP-MSCHAPv2"
                step.facts["home_agent"] = agent.address
                return agent, association
            names = ", ".join(agent.name for agent in agents)
            raise charon.IkeError(f"no home agent accepted us: {names}", evidence=tuple(failures))

    async def _establish(self, agent: HomeAgent) -> charon.SecurityAssociation:
        await self._load(agent, {})
        await self._charon.initiate(_CONNECTION, deadline=_IKE_DEADLINE)
        for association in await self._charon.associations():
            if association.connection == _CONNECTION:
                return association
        raise charon.IkeError("the IKE_SA is gone already")

    async def _load(self, agent: HomeAgent, children: dict[str, Any]) -> None:
        connection = charon.mobile_node(nai=self._nai, peer=agent.address, peer_name=agent.name, children=children)
        await self._charon.load(_CONNECTION, connection)

    async def _adopt(self, agent: HomeAgent, association: charon.SecurityAssociation) -> Home:
        """Make the assigned home address ours."""
        if not association.own_addresses:
            raise charon.IkeError(
                "the home agent assigned no home address",
                hint="the authorizer's AAA has to send Framed-IPv6-Address in its Access-Accept",
            )
        address = association.own_addresses[0]
        with_interface = self._tunnel_interface
        await guard.confine(address)  # until there is a tunnel, what is sent from it goes nowhere
        self._home_address = address  # also if the rest fails: ``leave`` undoes it
        await self._charon.appears(address, lambda: home_route.go_away(address, tunnel_interface=with_interface))
        return Home(agent, address)

    async def _tunnel(self, home: Home) -> None:
        child = charon.tunnel(local=[f"{home.address}/128"], remote=["::/0"])
        await self._load(home.agent, {charon.CHILD: child})
        await self._charon.initiate(_CONNECTION, charon.CHILD, deadline=_IKE_DEADLINE)

    async def _follow_mobike(self, care_of: IPv6Address) -> None:
        seen = ""
        try:
            async with asyncio.timeout(_MOBIKE_DEADLINE):
                while seen := await self._lagging(care_of):
                    async with self._noticed:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._noticed.wait(), _LOOK_AGAIN)
        except TimeoutError:
            raise NotReadyError(
                f"charon did not move to {care_of} within {_MOBIKE_DEADLINE:g} s", evidence=(seen,)
            ) from None

    async def _lagging(self, care_of: IPv6Address) -> str:
        """Return what is not yet as it should be after a move, the empty string if nothing is.

        charon moves its own end as soon as the new path answers, the home agent only when it is told to: what is sent
        in between may find no tunnel there, or one that leads to the old care-of address.
        """
        association = await self._established()
        if association is None:
            return "there is no IKE_SA"
        if association.local != care_of or association.moving:
            return f"the IKE_SA is at {association.local}{', moving' if association.moving else ''}"
        children = association.children
        # the kernel's security associations get new addresses, charon's own ones are replaced
        old = self._old_children if self._tunnel_interface else frozenset()
        return "" if len(children) == 1 and not children & old else f"the tunnel's CHILD_SAs are {sorted(children)}"

    async def _established(self) -> charon.SecurityAssociation | None:
        associations = await self._charon.associations()
        return next((a for a in associations if a.number == self._association), None)
