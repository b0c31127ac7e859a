"""The home agent: carries out what the state machines of ``binding`` decide (RFC 6275 section 10, RFC 5026).

Run inside its node as ``python -m testbed.mip6.home_agent CONFIGURATION``.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from testbed.errors import WireError
from testbed.mip6 import binding, control, guard, wire
from testbed.mip6.authorization import Ownership
from testbed.mip6.complaints import Complaints
from testbed.mip6.dhaad import HomeAgentDiscovery
from testbed.mip6.dns_update import HomeNames, Zone
from testbed.mip6.home_carriers import carrier_of
from testbed.mip6.home_configuration import Configuration
from testbed.mip6.instructions import Instructions
from testbed.mip6.journal import note
from testbed.mip6.ndlink import HomeLink
from testbed.mip6.policy import HomePrefix, Policy, Request
from testbed.mip6.prefix_advertiser import PrefixAdvertiser

if TYPE_CHECKING:
    from testbed.mip6.carrier import HomeAgentCarrier, Proof, Received

_FOLDER = Path("/run/lab")
_GUARD = "/run/lab/etc/home-agent/guard.nft"
_CONTROL = _FOLDER / "var" / "home-agent" / "control"
_MAXIMUM_BINDINGS = 65536  # about 130 MB
# a full collection with 10,000 bindings takes 10 ms, in which no update is answered: let it be seldom
_COLLECTION = (20_000, 50, 1000)
_LINK_LOCAL_PREFIX = int(IPv6Address("fe80::"))
_INTERFACE_ID = (1 << 64) - 1


class HomeAgent:
    """One home agent on one home link."""

    def __init__(self, configuration: Configuration, carrier: HomeAgentCarrier, link: HomeLink) -> None:
        self._configuration = configuration
        self._carrier = carrier
        self._link = link
        self._policy = Policy(
            prefixes=(HomePrefix(configuration.home_prefix),),
            maximum_bindings=_MAXIMUM_BINDINGS,
            dad_timeout=max(5.0, 3 * configuration.retrans_timer),
        )
        self._ownership = Ownership(
            configured={IPv6Address(address): owner for address, owner in configuration.owners.items()},
            reserved=frozenset(map(IPv6Address, configuration.reserved)),
        )
        self._entries: dict[IPv6Address, binding.Entry] = {}
        self._probes: dict[IPv6Address, asyncio.Task[None]] = {}
        self._timers: dict[IPv6Address, asyncio.TimerHandle] = {}
        self._complaints = Complaints(configuration.address)
        self._names = HomeNames(Zone.of(configuration.dns) if configuration.dns else None)
        self._wishes: dict[IPv6Address, tuple[str, wire.DnsUpdate]] = {}
        self.instructions = Instructions(self._send, self._revoke, random.SystemRandom().randrange(1 << 16))
        self._refused = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # one queue: what the state machine decides is carried out in the order decided
        self._work: asyncio.Queue[tuple[IPv6Address, binding.Action]] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carrier.run(self._heard, self._gone))
            group.create_task(self._carry_out())

    def serve(self, prefixes: tuple[HomePrefix, ...]) -> None:
        """Grant bindings of these home prefixes from now on (RFC 6275 section 10.6.4).

        Mobile nodes of others are told; until they leave they are served to the end of what they were granted.
        """
        self._policy = replace(self._policy, prefixes=prefixes)

    async def status(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Tell the bindings, and how many messages were refused."""
        now = time.monotonic()
        return {
            "home_agent": str(self._configuration.address),
            "bindings": [
                {
                    "home_address": str(entry.home_address),
                    "care_of_address": str(entry.care_of),
                    "identity": entry.identity,
                    "sequence": entry.sequence,
                    "lifetime": entry.lifetime_units * wire.LIFETIME_UNIT,
                    "remaining": round(entry.expires - now, 1),
                }
                for entry in self._entries.values()
                if isinstance(entry, binding.Bound)
            ],
            "owners": self._carrier.status(),
            "refused": self._refused,
        }

    def _heard(self, received: Received) -> None:
        try:
            # the kernel, or who took the packet apart, verified the checksum
            message = wire.decode(received.octets, received.home_address, self._configuration.address, verify=False)
        except WireError as error:
            self._malformed(received, error)
            return
        home = received.home_address
        match message:
            case wire.BindingUpdate():
                self._update(message, received)
            case wire.BindingRevocation():
                self.instructions.acknowledged(home, message)
            case wire.BindingError(status=wire.BindingErrorStatus.UNRECOGNIZED_TYPE):
                self.instructions.not_understood(home)
            case _:
                note("ignored", source=received.source, type=type(message).__name__)

    def _malformed(self, received: Received, error: WireError) -> None:
        """Answer as RFC 6275 section 9.2 asks, or not at all."""
        self._refused += 1
        note("malformed", source=received.source, reason=str(error), offset=error.offset)
        match error:
            case wire.UnknownTypeError():
                home = received.home_address if received.home_address_option else IPv6Address(0)
                answer = wire.BindingError(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, home)
                self._send(answer, received.home_address, received.source, type2=False)
            case wire.ChecksumError():
                return
            case WireError(offset=0 | 1 as offset):  # Payload Proto or Header Len
                self._complaints.parameter_problem(received, offset)

    def _update(self, update: wire.BindingUpdate, received: Received) -> None:
        alternate = wire.option(update, wire.AlternateCareOfAddress)
        care_of = alternate.address if alternate else received.source
        proof = self._carrier.proof(received, update, care_of)
        if proof is None:
            self._start(self._learn_and_judge(update, received, care_of))
        else:
            self._judge(update, received, care_of, proof)

    async def _learn_and_judge(self, update: wire.BindingUpdate, received: Received, care_of: IPv6Address) -> None:
        await self._carrier.learn(received, update, care_of)
        proof = self._carrier.proof(received, update, care_of) or self._carrier.last_word(received)
        self._judge(update, received, care_of, proof)

    def _judge(self, update: wire.BindingUpdate, received: Received, care_of: IPv6Address, proof: Proof) -> None:
        home = received.home_address
        authorization = proof.authorization
        # RFC 5026 section 9.2: the carrier knows who it is, this whether the home address is his; RFC 5142 section 5.3
        barred = update.lifetime_units and self.instructions.switching(home)
        if authorization is wire.BindingStatus.ACCEPTED and (
            barred or not self._ownership.allows(proof.identity, home)
        ):
            authorization = wire.BindingStatus.ADMINISTRATIVELY_PROHIBITED
        if (wish := wire.option(update, wire.DnsUpdate)) and proof.authorization is wire.BindingStatus.ACCEPTED:
            self._wishes[home] = (proof.identity, wish)
        request = Request(
            update=update,
            home_address=home,
            source=received.source,
            care_of=care_of,
            identity=proof.identity,
            authorization=authorization,
            home_address_option=received.home_address_option,
            timely=proof.timely,
            bindings=len(self._entries),
            context=proof.context,
        )
        note(
            "binding update",
            home_address=home,
            care_of_address=care_of,
            sequence=update.sequence,
            lifetime=update.lifetime,
            identity=proof.identity,
        )
        self._take(home, binding.receive(self._entries.get(home), request, self._policy, time.monotonic()))

    def _gone(self, home: IPv6Address) -> None:
        self._take(home, binding.owner_gone(self._entries.get(home)))

    def _take(self, home: IPv6Address, step: binding.Step) -> None:
        """Keep the entry that a step leads to, and hand its actions on."""
        if step.entry is None:
            if self._entries.pop(home, None):
                self._ownership = self._ownership.release(home)
        else:
            if home not in self._entries and home not in self._ownership.configured:
                self._ownership = self._ownership.claim(step.entry.identity, home)
            self._entries[home] = step.entry
        self._schedule(home)
        for action in step.actions:
            self._work.put_nowait((home, action))

    def _schedule(self, home: IPv6Address) -> None:
        """Have ``_expire`` called at the entry's deadline; a timer that is early looks again."""
        deadline = binding.deadline(self._entries.get(home))
        timer = self._timers.get(home)
        if deadline is None:
            if timer:
                self._timers.pop(home).cancel()
            return
        loop = asyncio.get_running_loop()
        if timer is None or timer.when() > deadline:
            if timer:
                timer.cancel()
            self._timers[home] = loop.call_at(deadline, self._expire, home)

    def _expire(self, home: IPv6Address) -> None:
        del self._timers[home]
        self._take(home, binding.expire(self._entries.get(home), time.monotonic()))

    async def _carry_out(self) -> None:
        while True:
            home, action = await self._work.get()
            try:
                await self._act(home, action)
            except OSError as error:
                note("failed", home_address=home, action=type(action).__name__, reason=str(error))

    async def _act(self, home: IPv6Address, action: binding.Action) -> None:
        match action:
            case binding.Acknowledge():
                self._acknowledge(action)
            case binding.ProbeHomeAddress(also_link_local=also):
                self._probes[home] = self._start(self._probe(home, also_link_local=also))
            case binding.StopProbe():
                if probe := self._probes.pop(home, None):
                    probe.cancel()
            case binding.Discard(reason=reason, section=section):
                self._refused += 1
                self._wishes.pop(home, None)
                note("discarded", home_address=home, reason=reason, section=section)
            case binding.KeyManagement():
                # charon moves its IKE_SA itself, by MOBIKE
                note("key management", home_address=home, survives=action.survives)
            case binding.Intercept() | binding.Retarget() | binding.Release():
                await self._serve(home, action)
            case _:
                assert_never(action)

    async def _serve(self, home: IPv6Address, action: binding.Intercept | binding.Retarget | binding.Release) -> None:
        """Begin, change or end to stand in for a mobile node on its home link."""
        match action:
            case binding.Intercept(care_of=care_of, also_link_local=also):
                await self._carrier.admit(home, care_of)
                for address in _addresses(home, also_link_local=also):
                    self._link.defend(address, self._configuration.retrans_timer)
                note("bound", home_address=home, care_of_address=care_of)
            case binding.Retarget(old=old, new=new):
                await self._carrier.retarget(home, new)
                note("moved", home_address=home, old=old, new=new)
            case binding.Release(reason=reason):
                for address in _addresses(home, also_link_local=True):
                    self._link.release(address)
                await self._carrier.expel(home)
                note("released", home_address=home, reason=reason)
                if reason is binding.Reason.DEREGISTERED:
                    self._names.keep(home)  # unless its wish says otherwise, which is fulfilled next
                else:
                    self._start(self._names.remove(home))
                self.instructions.ended(home, reason)

    def _acknowledge(self, action: binding.Acknowledge) -> None:
        if action.status.accepted and action.lifetime_units:
            self.instructions.reachable(action.home_address, action.destination, type2=action.type2)
        wish = self._wishes.pop(action.home_address, None)
        if wish and action.status.accepted:
            self._start(self._acknowledge_named(action, *wish))
        else:
            self._answer(action)

    async def _acknowledge_named(self, action: binding.Acknowledge, identity: str, wish: wire.DnsUpdate) -> None:
        """Acknowledge as soon as the DNS knows (RFC 5026 section 6)."""
        self._answer(action, await self._names.fulfil(identity, action.home_address, wish))

    def _answer(self, action: binding.Acknowledge, *more: wire.Option) -> None:
        advice = action.refresh_advice_units
        options = (*((wire.BindingRefreshAdvice(advice),) if advice is not None else ()), *more)
        answer = wire.BindingAcknowledgement(
            action.status, action.flags, action.sequence, action.lifetime_units, options
        )
        self._send(answer, action.home_address, action.destination, type2=action.type2, context=action.context)
        note(
            "binding acknowledgement",
            home_address=action.home_address,
            status=int(action.status),
            meaning=action.status.name,
            sequence=action.sequence,
            lifetime=answer.lifetime,
        )

    def _revoke(self, home: IPv6Address) -> None:
        self._take(home, binding.revoke(self._entries.get(home), binding.Reason.REVOKED))

    def _send(
        self,
        message: wire.Message,
        home: IPv6Address,
        destination: IPv6Address,
        *,
        type2: bool,
        context: object = None,
    ) -> None:
        try:
            self._carrier.send(message, home, destination, type2=type2, context=context)
        except OSError as error:
            note("not sent", home_address=home, reason=str(error))

    async def _probe(self, home: IPv6Address, *, also_link_local: bool) -> None:
        began = time.monotonic()
        probes = [
            self._link.duplicate_address_detection(address, self._configuration.retrans_timer)
            for address in _addresses(home, also_link_local=also_link_local)
        ]
        taken = any(await asyncio.gather(*probes))
        now = time.monotonic()
        note("duplicate address detection", home_address=home, unique=not taken, seconds=round(now - began, 4))
        self._probes.pop(home, None)
        self._take(home, binding.dad_done(self._entries.get(home), not taken, self._policy, now))

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _addresses(home: IPv6Address, *, also_link_local: bool) -> list[IPv6Address]:
    """The home address, with ``also_link_local`` also the link-local one of the same interface identifier."""
    link_local = IPv6Address(_LINK_LOCAL_PREFIX | int(home) & _INTERFACE_ID)
    return [home, link_local] if also_link_local else [home]


async def main(path: Path) -> None:
    """Run the agent until it is ended."""
    gc.set_threshold(*_COLLECTION)
    configuration = Configuration.read(path)
    await guard.install(_GUARD)
    carrier = await carrier_of(configuration)
    with HomeLink(configuration.home_link, configuration.address) as link:
        agent = HomeAgent(configuration, carrier, link)
        rng = random.SystemRandom()
        prefixes = PrefixAdvertiser(
            configuration.address, configuration.prefix_interval, lambda: agent.instructions.bound, agent.serve, rng
        )
        others = HomeAgentDiscovery(
            configuration.home_link,
            configuration.home_prefix,
            configuration.address,
            configuration.preference,
            rng=rng,
            advertised=prefixes.heard,
        )

        async def switch(request: dict[str, Any], send: control.Send) -> dict[str, Any]:
            known = [str(address) for address in others.addresses() if address != configuration.address]
            return await agent.instructions.asked_to_switch({"to": known, **request}, send)

        operations = {
            "status": agent.status,
            "home-agents": others.status,
            "switch": switch,
            "refresh": agent.instructions.asked_to_refresh,
            "revoke": agent.instructions.asked_to_revoke,
        }
        async with await control.serve(_CONTROL, operations), asyncio.TaskGroup() as group:
            note("ready", address=configuration.address, home_prefix=configuration.home_prefix)
            group.create_task(agent.run())
            group.create_task(others.run())
            group.create_task(prefixes.run())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
