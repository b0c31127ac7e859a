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
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.errors import BootstrapError, LabError, TestbedError
from testbed.mip6 import charon, control, dhaad, discovery, guard, home_route, wire
from testbed.mip6.attachment import Attachment, Delays, attach, find_router, leave, settle
from testbed.mip6.journal import note
from testbed.mip6.leasing import LeaseKeeper
from testbed.mip6.mobile_authentication import MobileAuthentication
from testbed.mip6.mobile_clear import MobileClear, Unprotected
from testbed.mip6.mobile_tunnel import MobileTunnel
from testbed.mip6.movement import carrier_returns
from testbed.mip6.path import MobilePath
from testbed.mip6.prefix_keeper import PrefixKeeper
from testbed.mip6.registrar import RefusedError, Registrar
from testbed.mip6.registration import Remedy
from testbed.mip6.steps import Name, Steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from testbed.mip6.carrier import Home, MobileCarrier
    from testbed.mip6.mobile_clear import Seal

_GUARD = "/run/lab/etc/mobile-node/guard.nft"
_CONTROL = Path("/run/lab/var/mobile-node/control")
_TUNNEL = "tunnel"  # the protection by IPsec
_HOME_PREFIX = 64  # every network's length
_FAREWELL = 3.0  # seconds for the deletion of a binding that is left anyhow; two updates fit in
_HANDOVER_DEADLINE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 32.0  # between attempts to bootstrap again; RFC 5026 section 5.1.2 leaves it open


@dataclass(frozen=True)
class Configuration:
    """A mobile node's seed information; ``discovery`` depends on its ``method``.

    ``password``, ``trust_anchor`` (PEM) and ``esp`` count in protection ``tunnel``, ``home_address`` in the others,
    ``keys`` in ``auth-option``: ``mn_ha`` and ``mn_aaa`` in hexadecimal digits, ``spi`` that of the first.
    """

    nai: str
    interface: str
    discovery: dict[str, str]
    solicitation_delay: float
    dhcp_delay: float
    retrans_timer: float
    protection: str = _TUNNEL
    password: str = ""
    trust_anchor: str = ""
    esp: str = ""
    home_address: str = ""
    hostname: str = ""
    spi: int = 0
    keys: dict[str, str] = field(default_factory=dict)

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


class MobileNode:
    """One mobile node."""

    def __init__(self, configuration: Configuration, carrier: MobileCarrier, rng: random.Random) -> None:
        self._configuration = configuration
        self._carrier = carrier
        self._rng = rng
        self._leases = LeaseKeeper(configuration.interface, rng)
        self._busy = asyncio.Lock()
        self._attachment: Attachment | None = None
        self._home: Home | None = None
        self._at_home: Home | None = None
        self._registrar = Registrar(carrier, rng.randrange(1 << 16), self._trouble, configuration.hostname)
        self._prefixes = PrefixKeeper(
            rng, self._registrar.prefixes_known, lambda: self._trouble(Remedy.NEW_HOME_ADDRESS)
        )
        self._handover: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._listeners: list[tuple[control.Send, asyncio.Future[dict[str, Any]]]] = []

    async def run(self) -> None:
        """Follow the carrier until cancelled."""
        await self._carrier.run(self._lost)

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
            "protection": self._configuration.protection,
            "state": "at home" if self._at_home else type(state).__name__.lower(),
            "home_agent": str(home.agent.address) if home else None,
            "home_address": str(home.address) if home else None,
            "hostname": self._configuration.hostname or None,
            "dns_status": self._registrar.dns_status,
            "care_of_address": str(self._attachment.care_of) if self._attachment else None,
            "sequence": state.exchange.sequence,
            "remaining": None if remaining is None else round(remaining, 1),
        }

    async def _find_home(self, attachment: Attachment, steps: Steps, named: Sequence[discovery.HomeAgent] = ()) -> None:
        """Find a home agent, unless some are ``named``, prove ourselves, get a home address and a tunnel, register."""
        async with steps.step(Name.DISCOVERY) as step:
            agents = list(named) or await self._discover(attachment)
            step.text = ", ".join(f"{agent.name} at {agent.address}" for agent in agents)
            step.facts["home_agents"] = [str(agent.address) for agent in agents]
        while True:
            home = await self._carrier.reach(agents, attachment.care_of, steps)
            self._home = home
            self._prefixes.open(home.address, home.agent.address)
            agents = agents[agents.index(home.agent) + 1 :]
            try:
                await self._register(home, attachment, steps)
            except BootstrapError as error:
                refused = error.__cause__
                if not (isinstance(refused, RefusedError) and refused.remedy is Remedy.NEXT_HOME_AGENT and agents):
                    raise
                note("next home agent", after=home.agent.name, reason=error.message)
                await self._leave()
            else:
                return

    async def _register(self, home: Home, attachment: Attachment, steps: Steps) -> None:
        async with steps.step(Name.REGISTRATION) as step:
            began = time.monotonic()
            lifetime = await self._registrar.register(home.address, home.agent.address, attachment.care_of)
            # the home agent probes the home address for this long (RFC 6275 section 10.3.1)
            step.waiting = min(self._configuration.retrans_timer, time.monotonic() - began)
            step.text = f"{home.address} bound to {attachment.care_of} for {lifetime} s"
            step.facts["lifetime"] = lifetime
        self._prefixes.solicit()

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

    async def _leave(self) -> None:
        """Give up the binding, the tunnel and the home address, as far as there are any."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._registrar.delete(), _FAREWELL)
        self._registrar.close()
        self._prefixes.close()
        self._home = None
        await self._carrier.leave()
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
        if heard.router == old.router and old.prefix in advertised:  # the same network as before
            if self._home is None and self._at_home is None:
                await self._find_home(old, steps)
            return
        await self._carrier.before_moving()
        new = await settle(interface, heard, self._configuration.delays, self._rng, steps, moving=True)
        leave(interface, old)  # only now: it makes charon look for another address, and there has to be one
        self._attachment = new
        self._leases.follow(new.lease)
        if self._home is None:
            at_home, self._at_home = self._at_home, None
            if at_home and at_home.address not in new.prefix:
                home_route.leave_home(at_home.address, new.prefix.prefixlen, interface)
            await self._find_home(new, steps)
            return
        await self._carrier.follow(self._home, new.care_of, steps)
        if self._home.address in new.prefix:
            await self._return_home(self._home, new, steps)
            return
        async with steps.step(Name.REGISTRATION) as step:
            lifetime = await self._registrar.move(new.care_of)
            step.text = f"{self._home.address} bound to {new.care_of} for {lifetime} s"

    async def _return_home(self, home: Home, attachment: Attachment, steps: Steps) -> None:
        """Delete the binding and use the home address on its own link (RFC 6275 section 11.5.5)."""
        async with steps.step(Name.DEREGISTRATION) as step:
            await self._carrier.at_home(home, attachment.prefix.prefixlen)
            await self._registrar.delete(at_home=True)
            await self._leave()
            home_route.come_home(home.address, attachment.prefix.prefixlen, self._configuration.interface)
            self._at_home = home
            step.text = f"{home.address} is at home"

    def _lost(self) -> None:
        """Bootstrap again when the home agent ended the way to it."""
        if self._home and not self._busy.locked():
            note("security association ended by the home agent")
            self._registrar.close()  # there is no way left to tell it anything
            self._trouble(Remedy.REDISCOVER)

    def _trouble(self, remedy: Remedy) -> None:
        """Bootstrap again where that may help."""
        if remedy is Remedy.PREFIX_DISCOVERY:
            self._prefixes.solicit()
            return
        if remedy is Remedy.STOP or self._recovery or self._attachment is None:
            return
        self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Bootstrap again from where we are attached, until it works (RFC 4640 section 3).

        Home agents that the last one named come first (RFC 5142 section 6.2).
        """
        pause = _FIRST_PAUSE
        named = self._named()
        try:
            while self._attachment:
                async with self._busy:
                    steps = Steps(lambda _: None)
                    try:
                        await self._leave()
                        await self._find_home(self._attachment, steps, named)
                    except TestbedError as error:
                        note("recovery failed", reason=str(error))
                    else:
                        note("recovered", seconds=round(steps.seconds, 3))
                        return
                if named:
                    named = []  # none of them will have us: discover others, at once
                    continue
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._recovery = None

    def _named(self) -> list[discovery.HomeAgent]:
        """The home agents to switch to: those on the home link first, else in their order (RFC 5142 section 6.2)."""
        home = self._home.address if self._home else None
        link = IPv6Network((home, _HOME_PREFIX), strict=False) if home else None
        addresses = sorted(self._registrar.alternatives, key=lambda address: link is None or address not in link)
        return [discovery.HomeAgent(str(address), address) for address in addresses]

    @asynccontextmanager
    async def _undisturbed(self) -> AsyncIterator[None]:
        """Do what somebody asks for, and let go of what the mobile node does of its own accord."""
        for task in (self._handover, self._recovery):
            if task:
                task.cancel()
        for _, future in self._listeners:
            if not future.done():
                future.set_exception(LabError("the handover was given up for another command"))
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


async def _carrier(configuration: Configuration) -> MobileCarrier:
    """Make the carrier for a protection."""
    if configuration.protection == _TUNNEL:
        charon_of_node = await charon.Charon.reach()
        await charon_of_node.trust(configuration.trust_anchor)
        await charon_of_node.password(configuration.nai, configuration.password)
        return MobileTunnel(charon_of_node, configuration.nai, tunnel_interface=configuration.tunnel_interface)
    path = MobilePath(configuration.interface)
    path.prepare()
    home_address = IPv6Address(configuration.home_address)
    return MobileClear(configuration.interface, home_address, _seal(configuration), path)


def _seal(configuration: Configuration) -> Seal:
    """Make what protects Binding Updates without IPsec."""
    if configuration.protection == "none":
        return Unprotected()
    subtypes = {"mn_ha": wire.AuthenticationSubtype.MN_HA, "mn_aaa": wire.AuthenticationSubtype.MN_AAA}
    keys = {subtypes[name]: bytes.fromhex(key) for name, key in configuration.keys.items()}
    return MobileAuthentication(configuration.nai, configuration.spi, keys)


async def main(path: Path) -> None:
    """Run the agent until it is ended."""
    configuration = Configuration.read(path)
    await guard.install(_GUARD)
    mobile_node = MobileNode(configuration, await _carrier(configuration), random.SystemRandom())
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
