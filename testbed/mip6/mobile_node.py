"""The mobile node: from its seed information to a registered home address, and wherever it goes with that.

RFC 5026, RFC 6275 section 11. Run inside its node as ``python -m testbed.mip6.mobile_node CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.errors import BootstrapError, LabError, NotReadyError, TestbedError
from testbed.mip6 import charon, control, dhaad, discovery, guard, home_route
from testbed.mip6.attachment import Attachment, Delays, attach, find_router, leave, settle
from testbed.mip6.journal import note
from testbed.mip6.leasing import LeaseKeeper
from testbed.mip6.movement import carrier_returns
from testbed.mip6.registrar import Registrar
from testbed.mip6.registration import Remedy
from testbed.mip6.steps import Name, Steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_GUARD = "/run/lab/etc/mobile-node/guard.nft"
_CONTROL = Path("/run/lab/var/mobile-node/control")
_CONNECTION = "home"
_IKE_DEADLINE = 20.0
_MOBIKE_DEADLINE = 30.0
_HANDOVER_DEADLINE = 60.0
_LOOK_AGAIN = 0.005  # seconds between looks at charon's CHILD_SAs if it tells nothing
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 32.0  # between attempts to bootstrap again; RFC 5026 section 5.1.2 leaves it open


@dataclass(frozen=True)
class Configuration:
    """A mobile node's seed information; ``trust_anchor`` is PEM, ``discovery`` depends on its ``method``."""

    nai: str
    password: str
    interface: str
    discovery: dict[str, str]
    trust_anchor: str
    esp: str
    solicitation_delay: float
    dhcp_delay: float
    retrans_timer: float

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read it from JSON."""
        return cls(**json.loads(path.read_text()))

    @property
    def delays(self) -> Delays:
        """Its random delays."""
        return Delays(self.solicitation_delay, self.dhcp_delay)

    @property
    def tunnel_interface(self) -> bool:
        """Whether the tunnel is an interface: charon does ESP itself."""
        return self.esp == "userland"


@dataclass(frozen=True)
class Home:
    """What bootstrapping gives (RFC 4640 section 3): a home agent, a home address, an SA between them."""

    agent: discovery.HomeAgent
    address: IPv6Address
    association: int  #: charon's number of the IKE_SA


class MobileNode:
    """One mobile node."""

    def __init__(self, configuration: Configuration, charon_of_node: charon.Charon, rng: random.Random) -> None:
        self._configuration = configuration
        self._charon = charon_of_node
        self._rng = rng
        self._leases = LeaseKeeper(configuration.interface, rng)
        self._busy = asyncio.Lock()
        self._attachment: Attachment | None = None
        self._home: Home | None = None
        self._at_home: Home | None = None
        self._registrar = Registrar(rng.randrange(1 << 16), self._trouble)
        self._local: IPv6Address | None = None
        self._noticed = asyncio.Condition()
        self._handover: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._listeners: list[tuple[control.Send, asyncio.Future[dict[str, Any]]]] = []

    async def run(self) -> None:
        """Follow charon until cancelled."""
        async for notice in self._charon.notices():
            if notice.kind == "ike-update" and notice.new_local:
                self._local = notice.new_local
            async with self._noticed:
                self._noticed.notify_all()
            lost = notice.kind == "ike-updown" and not notice.up
            if lost and self._home and notice.association.number == self._home.association and not self._busy.locked():
                note("security association ended by the home agent")
                self._registrar.close()  # there is no way left to tell it anything
                self._trouble(Remedy.REDISCOVER)

    async def follow_link(self) -> None:
        """Follow the interface until cancelled; a handover to a network that was left meanwhile is given up."""
        async for _ in carrier_returns(self._configuration.interface):
            if self._attachment is None:
                continue  # a bootstrap takes the interface up itself
            if self._handover:
                self._handover.cancel()
            self._handover = asyncio.create_task(self._hand_over())

    async def bootstrap(self, _request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        """Bootstrap from nothing; what an earlier bootstrap left is given up first."""
        async with self._undisturbed():
            await self._leave()
            steps = Steps(send)
            self._attachment = None
            self._attachment = await attach(self._configuration.interface, self._configuration.delays, self._rng, steps)
            self._leases.follow(self._attachment.lease)
            await self._find_home(self._attachment, steps)
            return self._described(steps)

    async def next_handover(self, _request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        """Wait for the next handover, tell its steps and its outcome; says when it is ready to."""
        if self._attachment is None:
            raise LabError("it is not attached", hint="testbed bootstrap")
        outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._listeners.append((send, outcome))
        send({"watching": True})
        try:
            async with asyncio.timeout(_HANDOVER_DEADLINE):
                return await outcome
        except TimeoutError:
            raise LabError(f"no handover within {_HANDOVER_DEADLINE:g} s") from None
        finally:
            self._listeners = [entry for entry in self._listeners if entry[1] is not outcome]

    async def deregister(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Delete the binding and give up the home address."""
        async with self._undisturbed():
            if self._home is None:
                raise LabError("it is not registered")
            home = self._home
            await self._leave()
            return {"home_address": str(home.address)}

    async def status(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Tell the binding as this end sees it."""
        home, state = self._home or self._at_home, self._registrar.state
        remaining = self._registrar.remaining
        return {
            "nai": self._configuration.nai,
            "state": "at home" if self._at_home else type(state).__name__.lower(),
            "home_agent": str(home.agent.address) if home else None,
            "home_address": str(home.address) if home else None,
            "care_of_address": str(self._attachment.care_of) if self._attachment else None,
            "sequence": state.exchange.sequence,
            "remaining": None if remaining is None else round(remaining, 1),
        }

    async def _find_home(self, attachment: Attachment, steps: Steps) -> None:
        """Find a home agent, prove ourselves, get a home address and a tunnel, register."""
        async with steps.step(Name.DISCOVERY) as step:
            agents = await self._discover(attachment)
            step.text = ", ".join(f"{agent.name} at {agent.address}" for agent in agents)
            step.facts["home_agents"] = [str(agent.address) for agent in agents]
        agent, association = await self._authenticate(agents, steps)
        async with steps.step(Name.HOME_ADDRESS) as step:
            self._home = home = await self._adopt(agent, association)
            step.text = f"{home.address} by configuration payload"
            step.facts["home_address"] = home.address
        async with steps.step(Name.TUNNEL) as step:
            await self._tunnel(home)
            step.text = f"ESP {home.address} === ::/0 by CREATE_CHILD_SA"
        async with steps.step(Name.REGISTRATION) as step:
            began = time.monotonic()
            lifetime = await self._registrar.register(home.address, agent.address, attachment.care_of)
            # the home agent probes the home address for this long (RFC 6275 section 10.3.1)
            step.waiting = min(self._configuration.retrans_timer, time.monotonic() - began)
            step.text = f"{home.address} bound to {attachment.care_of} for {lifetime} s"
            step.facts["lifetime"] = lifetime

    async def _discover(self, attachment: Attachment) -> list[discovery.HomeAgent]:
        seed = self._configuration.discovery
        match seed["method"]:
            case "dns-srv":
                return await discovery.by_service(seed["domain"], attachment.dns_servers, self._rng)
            case "dns-aaaa":
                return await discovery.by_name(seed["name"], attachment.dns_servers)
            case "dhaad":
                return await dhaad.discover(IPv6Network(seed["prefix"]), attachment.care_of, self._rng)
            case _:
                return [discovery.HomeAgent(seed["name"], IPv6Address(seed["address"]))]

    async def _authenticate(
        self, agents: list[discovery.HomeAgent], steps: Steps
    ) -> tuple[discovery.HomeAgent, charon.SecurityAssociation]:
        """Establish an IKE_SA with the first home agent that can be trusted and trusts us (RFC 5026 section 5.1.2)."""
        failures: list[str] = []
        async with steps.step(Name.IKE) as step:
            for agent in agents:
                try:
                    association = await self._establish(agent)
                except charon.IkeError as error:
                    failures += [f"{agent.name} at {agent.address}: {error.message}", *error.evidence]
                    continue
                proved = f"{self._configuration.nai} by EAP-MSCHAPv2"
                step.text = f"{agent.name} proved itself by certificate, {proved}"
                step.facts["home_agent"] = agent.address
                return agent, association
            names = ", ".join(agent.name for agent in agents)
            raise charon.IkeError(f"no home agent accepted us: {names}", evidence=tuple(failures))

    async def _establish(self, agent: discovery.HomeAgent) -> charon.SecurityAssociation:
        await self._load(agent, {})
        await self._charon.initiate(_CONNECTION, deadline=_IKE_DEADLINE)
        for association in await self._charon.associations():
            if association.connection == _CONNECTION:
                return association
        raise charon.IkeError("the IKE_SA is gone already")

    async def _load(self, agent: discovery.HomeAgent, children: dict[str, Any]) -> None:
        connection = charon.mobile_node(
            nai=self._configuration.nai, peer=agent.address, peer_name=agent.name, children=children
        )
        await self._charon.load(_CONNECTION, connection)

    async def _adopt(self, agent: discovery.HomeAgent, association: charon.SecurityAssociation) -> Home:
        """Make the assigned home address ours."""
        if not association.own_addresses:
            raise charon.IkeError(
                "the home agent assigned no home address",
                hint="the authorizer's AAA has to send Framed-IPv6-Address in its Access-Accept",
            )
        address = association.own_addresses[0]
        with_interface = self._configuration.tunnel_interface
        await self._charon.appears(address, lambda: home_route.go_away(address, tunnel_interface=with_interface))
        return Home(agent, address, association.number)

    async def _tunnel(self, home: Home) -> None:
        child = charon.tunnel(local=[f"{home.address}/128"], remote=["::/0"])
        await self._load(home.agent, {charon.CHILD: child})
        await self._charon.initiate(_CONNECTION, charon.CHILD, deadline=_IKE_DEADLINE)

    async def _leave(self) -> None:
        """Give up the binding, the security associations and the home address, as far as there are any."""
        await self._registrar.delete()
        self._registrar.close()
        home, self._home = self._home, None
        for association in await self._charon.associations():
            await self._charon.terminate(association.number)
        if home:
            home_route.give_up(home.address, tunnel_interface=self._configuration.tunnel_interface)
        self._at_home = None

    async def _hand_over(self) -> None:
        """Find out where the interface is plugged in now, and take the binding there."""
        listeners = list(self._listeners)

        def tell(step: dict[str, Any]) -> None:
            for send, _ in listeners:
                send(step)

        steps = Steps(tell)
        try:
            async with self._busy:
                await self._change_network(steps)
            outcome = self._described(steps)
        except TestbedError as error:
            note("handover failed", reason=str(error))
            for _, future in listeners:
                if not future.done():
                    future.set_exception(error)
            self._trouble(Remedy.REDISCOVER)
        else:
            note("handover", **outcome)
            for _, future in listeners:
                if not future.done():
                    future.set_result(outcome)
        finally:
            self._handover = None

    async def _change_network(self, steps: Steps) -> None:
        interface, old = self._configuration.interface, self._attachment
        if old is None:
            raise LabError("it was not attached")
        async with steps.step(Name.ROUTER) as step:
            heard = await find_router(interface)
            step.text = f"{heard.router} answers"
        advertised = [prefix.network for prefix in heard.advertisement.prefixes]
        if heard.router == old.router and old.prefix in advertised:
            return  # the same network as before
        children = await self._children()
        leave(interface, old)
        new = await settle(interface, heard, self._configuration.delays, self._rng, steps)
        self._attachment = new
        self._leases.follow(new.lease)
        if self._home is None:
            at_home, self._at_home = self._at_home, None
            if at_home and at_home.address not in new.prefix:
                home_route.leave_home(at_home.address, new.prefix.prefixlen, interface)
            await self._find_home(new, steps)
            return
        async with steps.step(Name.MOBIKE) as step:
            await self._follow_mobike(new.care_of, children)
            step.text = f"tunnel from {new.care_of} to {self._home.agent.address}"
        if self._home.address in new.prefix:
            await self._return_home(self._home, new, steps)
            return
        async with steps.step(Name.REGISTRATION) as step:
            lifetime = await self._registrar.move(new.care_of)
            step.text = f"{self._home.address} bound to {new.care_of} for {lifetime} s"

    async def _return_home(self, home: Home, attachment: Attachment, steps: Steps) -> None:
        """Delete the binding and use the home address on its own link (RFC 6275 section 11.5.5)."""
        async with steps.step(Name.DEREGISTRATION) as step:
            await self._registrar.delete(at_home=True)
            await self._leave()
            home_route.come_home(home.address, attachment.prefix.prefixlen, self._configuration.interface)
            self._at_home = home
            step.text = f"{home.address} is at home"

    async def _follow_mobike(self, care_of: IPv6Address, old: frozenset[int]) -> None:
        """Wait until charon moved the IKE_SA to the new care-of address (RFC 4555), and the tunnel with it.

        charon's own ESP cannot change an SA's addresses: it makes a new one in place of each of the ``old``.
        """
        seen = ""
        try:
            async with asyncio.timeout(_MOBIKE_DEADLINE):
                while seen := await self._lagging(care_of, old):
                    async with self._noticed:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._noticed.wait(), _LOOK_AGAIN)
        except TimeoutError:
            raise NotReadyError(
                f"charon did not move to {care_of} within {_MOBIKE_DEADLINE:g} s", evidence=(seen,)
            ) from None

    async def _lagging(self, care_of: IPv6Address, old: frozenset[int]) -> str:
        """Return what is not yet as it should be after a move, the empty string if nothing is."""
        if self._local != care_of:
            return f"the IKE_SA is at {self._local}"
        if not self._configuration.tunnel_interface:
            return ""
        children = await self._children()
        return f"the tunnel's CHILD_SAs are {sorted(children)}" if children & old or len(children) != 1 else ""

    async def _children(self) -> frozenset[int]:
        associations = await self._charon.associations()
        return next(
            (a.children for a in associations if self._home and a.number == self._home.association), frozenset()
        )

    def _trouble(self, remedy: Remedy) -> None:
        """Bootstrap again where that may help."""
        if remedy is Remedy.STOP or self._recovery or self._attachment is None:
            return
        self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Bootstrap again from where we are attached, until it works (RFC 4640 section 3)."""
        pause = _FIRST_PAUSE
        try:
            while self._attachment:
                async with self._busy:
                    steps = Steps(lambda _: None)
                    try:
                        await self._leave()
                        await self._find_home(self._attachment, steps)
                    except (BootstrapError, charon.IkeError) as error:
                        note("recovery failed", reason=str(error))
                    else:
                        note("recovered", seconds=round(steps.seconds, 3))
                        return
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._recovery = None

    @asynccontextmanager
    async def _undisturbed(self) -> AsyncIterator[None]:
        """Do what somebody asks for, and let go of what the mobile node does of its own accord."""
        for task in (self._handover, self._recovery):
            if task:
                task.cancel()
        async with self._busy:
            yield

    def _described(self, steps: Steps) -> dict[str, Any]:
        home = self._home or self._at_home
        return {
            "home_agent": str(home.agent.address) if home else None,
            "home_agent_name": home.agent.name if home else None,
            "home_address": str(home.address) if home else None,
            "care_of_address": str(self._attachment.care_of) if self._attachment else None,
            "at_home": self._at_home is not None,
            "seconds": round(steps.seconds, 6),
            "waiting": round(steps.waiting, 6),
        }


async def main(path: Path) -> None:
    """Run the agent until it is ended."""
    configuration = Configuration.read(path)
    await guard.install(_GUARD)
    charon_of_node = await charon.Charon.reach()
    await charon_of_node.trust(configuration.trust_anchor)
    await charon_of_node.password(configuration.nai, configuration.password)
    mobile_node = MobileNode(configuration, charon_of_node, random.SystemRandom())
    operations = {
        "bootstrap": mobile_node.bootstrap,
        "next-handover": mobile_node.next_handover,
        "deregister": mobile_node.deregister,
        "status": mobile_node.status,
    }
    async with await control.serve(_CONTROL, operations), asyncio.TaskGroup() as group:
        note("ready", nai=configuration.nai)
        group.create_task(mobile_node.run())
        group.create_task(mobile_node.follow_link())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
