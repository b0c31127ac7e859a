"""The mobile node: from its seed information to a registered home address (RFC 5026, RFC 6275 section 11).

Run inside its node as ``python -m testbed.mip6.mobile_node CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

from testbed.errors import LabError, TestbedError, WireError
from testbed.mip6 import charon, control, discovery, guard, registration, wire
from testbed.mip6.attachment import Attachment, Delays, attach
from testbed.mip6.journal import note
from testbed.mip6.retransmission import Binding, SendUpdate, Timing
from testbed.mip6.signalling import Signalling
from testbed.mip6.steps import Name, Steps
from testbed.netlink import (
    AddressFlag,
    Netlink,
    Route,
    RouteType,
    Rule,
    address_add,
    address_del,
    route_replace,
    rule_add,
    rule_del,
)

_GUARD = "/run/lab/etc/mobile-node/guard.nft"
_CONTROL = Path("/run/lab/var/mobile-node/control")
_CONNECTION = "home"
_LOOPBACK = 1
_TUNNEL_TABLE = 220  # charon's: there it routes what goes into the tunnel
_TUNNEL_RULE = 1000
_LAST_METRIC = 0xFFFFFFFF
_IKE_DEADLINE = 20.0
_LIFETIME = 600  # seconds that are asked for


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
        self._timing = Timing()
        self._busy = asyncio.Lock()
        self._attachment: Attachment | None = None
        self._home: Home | None = None
        self._signalling: Signalling | None = None
        self._state: registration.State = registration.start(rng.randrange(1 << 16))
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Future[registration.State] | None = None

    async def bootstrap(self, _request: dict[str, Any], send: control.Send) -> dict[str, Any]:
        """Bootstrap from nothing; what an earlier bootstrap left is given up first."""
        async with self._busy:
            await self._leave()
            steps = Steps(send)
            delays = Delays(self._configuration.solicitation_delay, self._configuration.dhcp_delay)
            attachment = await attach(self._configuration.interface, delays, self._rng, steps)
            self._attachment = attachment
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
                registered = await self._register(home, attachment.care_of)
                # the home agent probes the home address for this long (RFC 6275 section 10.3.1)
                step.waiting = min(self._configuration.retrans_timer, time.monotonic() - began)
                lifetime = round(registered.expires - registered.exchange.sent[-1])
                step.text = f"{home.address} bound to {attachment.care_of} for {lifetime} s"
                step.facts["lifetime"] = lifetime
            return {
                "home_agent": str(agent.address),
                "home_agent_name": agent.name,
                "home_address": str(home.address),
                "care_of_address": str(attachment.care_of),
                "seconds": round(steps.seconds, 6),
                "waiting": round(steps.waiting, 6),
            }

    async def deregister(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Delete the binding and give up the home address."""
        async with self._busy:
            if self._home is None:
                raise LabError("it is not registered")
            home = self._home
            await self._leave()
            return {"home_address": str(home.address)}

    async def status(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Tell the binding as this end sees it."""
        state, now = self._state, time.monotonic()
        return {
            "nai": self._configuration.nai,
            "state": type(state).__name__.lower(),
            "home_agent": str(self._home.agent.address) if self._home else None,
            "home_address": str(self._home.address) if self._home else None,
            "care_of_address": str(self._attachment.care_of) if self._attachment else None,
            "sequence": state.exchange.sequence,
            "remaining": round(state.expires - now, 1) if isinstance(state, registration.Registered) else None,
        }

    async def _discover(self, attachment: Attachment) -> list[discovery.HomeAgent]:
        seed = self._configuration.discovery
        match seed["method"]:
            case "dns-srv":
                return await discovery.by_service(seed["domain"], attachment.dns_servers, self._rng)
            case "dns-aaaa":
                return await discovery.by_name(seed["name"], attachment.dns_servers)
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
                step.text = f"{agent.name} proved itself by certificate, {self._configuration.nai} by EAP-MSCHAPv2"
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
        await self._charon.appears(address, lambda: self._configure(address))
        return Home(agent, address, association.number)

    def _configure(self, home_address: IPv6Address) -> None:
        """Put the home address on this node, and what is sent from it into the tunnel."""
        own = _host(home_address)
        with Netlink() as netlink:
            if self._configuration.esp == "userland":
                # without the tunnel, packets from the home address go nowhere, rather than out in clear
                nowhere = Route(table=_TUNNEL_TABLE, metric=_LAST_METRIC, type=RouteType.UNREACHABLE)
                netlink.apply(route_replace(nowhere), rule_add(_tunnel_rule(home_address)))
            netlink.apply(address_add(_LOOPBACK, own, flags=AddressFlag.NODAD, replace=True))

    def _unconfigure(self, home_address: IPv6Address) -> None:
        with Netlink() as netlink:
            if self._configuration.esp == "userland":
                netlink.apply(rule_del(_tunnel_rule(home_address)))
            netlink.apply(address_del(_LOOPBACK, _host(home_address)))

    async def _tunnel(self, home: Home) -> None:
        child = charon.tunnel(local=[f"{home.address}/128"], remote=["::/0"])
        await self._load(home.agent, {charon.CHILD: child})
        await self._charon.initiate(_CONNECTION, charon.CHILD, deadline=_IKE_DEADLINE)

    async def _register(self, home: Home, care_of: IPv6Address) -> registration.Registered:
        self._signalling = Signalling(home.address, self._heard)
        wanted = Binding(
            home_address=home.address,
            care_of=care_of,
            home_agent=home.agent.address,
            lifetime_units=_LIFETIME // wire.LIFETIME_UNIT,
        )
        state = await self._settle(registration.register(self._state, wanted, self._timing, time.monotonic()))
        if isinstance(state, registration.Registered):
            return state
        assert isinstance(state, registration.Failed)  # noqa: S101  a registration settles in one of the two
        raise TestbedError(_refusal(state))

    async def _leave(self) -> None:
        """Give up the binding, the security associations and the home address, as far as there are any."""
        if self._signalling:
            step = registration.deregister(self._state, self._timing, time.monotonic())
            if isinstance(step.state, registration.Deregistering):
                await self._settle(step)
            self._signalling.close()
            self._signalling = None
        for association in await self._charon.associations():
            await self._charon.terminate(association.number)
        if self._home:
            self._unconfigure(self._home.address)
            self._home = None

    async def _settle(self, step: registration.Step) -> registration.State:
        """Take a step and wait until the registration comes to rest."""
        self._settled = asyncio.get_running_loop().create_future()
        self._take(step)
        try:
            return await self._settled
        finally:
            self._settled = None

    def _take(self, step: registration.Step) -> None:
        self._state = step.state
        for action in step.actions:
            self._act(action)
        self._schedule()
        resting = registration.Registered | registration.Idle | registration.Failed
        if self._settled and not self._settled.done() and isinstance(self._state, resting):
            self._settled.set_result(self._state)

    def _act(self, action: registration.Action) -> None:
        match action:
            case SendUpdate():
                self._send(action)
            case registration.Confirmed(binding=binding):
                note("registered", home_address=binding.home_address, care_of_address=binding.care_of)
            case registration.Pursue(remedy=remedy, status=status):
                note("registration failed", remedy=remedy.name, status=status)
            case registration.Ignore(reason=reason, section=section):
                note("ignored", reason=reason, section=section)
            case registration.Lapsed() | registration.Deregistered():
                note(type(action).__name__.lower(), home_address=action.home_address)

    def _send(self, action: SendUpdate) -> None:
        update = wire.BindingUpdate(
            action.sequence,
            action.flags,
            action.lifetime_units,
            (wire.AlternateCareOfAddress(action.care_of),),
        )
        note(
            "binding update",
            sequence=action.sequence,
            care_of_address=action.care_of,
            home_address=action.home_address,
            lifetime=update.lifetime,
        )
        if self._signalling:
            try:
                self._signalling.send(update, action.home_agent)
            except OSError as error:
                note("not sent", reason=str(error))  # the state machine sends again

    def _heard(self, octets: bytes, source: IPv6Address) -> None:
        home = self._home
        if home is None or source != home.agent.address:
            note("ignored", source=source, reason="not from the home agent")
            return
        try:
            message = wire.decode(octets, source, home.address, verify=False)  # the kernel verified the checksum
        except WireError as error:
            note("malformed", source=source, reason=str(error))
            return
        now = time.monotonic()
        match message:
            case wire.BindingAcknowledgement():
                note("binding acknowledgement", status=message.status, sequence=message.sequence)
                # the guard lets in only what came out of the tunnel
                step = registration.acknowledgement(self._state, message, True, self._timing, now)
            case wire.BindingRefreshRequest():
                step = registration.refresh_request(self._state, self._timing, now)
            case wire.BindingError():
                step = registration.error(self._state, message.status, self._timing, now)
            case _:
                note("ignored", source=source, type=type(message).__name__)
                return
        self._take(step)

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = registration.deadline(self._state)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(deadline, self._due) if deadline is not None else None

    def _due(self) -> None:
        self._take(registration.timeout(self._state, self._timing, time.monotonic()))


def _refusal(state: registration.Failed) -> str:
    if state.status is None:
        return "the home agent did not acknowledge the Binding Update"
    try:
        meaning = wire.BindingStatus(state.status).name.lower().replace("_", " ")
    except ValueError:
        meaning = "unknown"
    return f"the home agent refused the Binding Update with status {state.status}, {meaning}"


def _host(address: IPv6Address) -> IPv6Interface:
    return IPv6Interface((address, 128))


def _tunnel_rule(home_address: IPv6Address) -> Rule:
    return Rule(_TUNNEL_RULE, table=_TUNNEL_TABLE, source=IPv6Network(home_address))


async def main(path: Path) -> None:
    """Run the agent until it is ended."""
    configuration = Configuration.read(path)
    await guard.install(_GUARD)
    charon_of_node = await charon.Charon.reach()
    await charon_of_node.trust(configuration.trust_anchor)
    await charon_of_node.password(configuration.nai, configuration.password)
    mobile_node = MobileNode(configuration, charon_of_node, random.Random())
    operations = {
        "bootstrap": mobile_node.bootstrap,
        "deregister": mobile_node.deregister,
        "status": mobile_node.status,
    }
    server = await control.serve(_CONTROL, operations)
    note("ready", nai=configuration.nai)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
