"""A mobile node's registration with its home agent: the state machine of ``registration`` with carrier and clock."""

from __future__ import annotations

import asyncio
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from testbed.errors import TestbedError, WireError
from testbed.mip6 import registration, wire
from testbed.mip6.journal import note
from testbed.mip6.retransmission import Binding, SendUpdate, Timing

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.mip6.carrier import MobileCarrier
    from testbed.mip6.registration import Remedy

LIFETIME = 600  # seconds that are asked for
_NO_HOME_ADDRESS = IPv6Address(0)  # a Binding Error about a packet without a Home Address option: section 9.3.3
_RESTING = registration.Registered | registration.Idle | registration.Failed


class RefusedError(TestbedError):
    """The home agent refused a registration or did not answer; ``remedy`` says what may help."""

    def __init__(self, message: str, remedy: Remedy) -> None:
        super().__init__(message)
        self.remedy = remedy


class Registrar:
    """Keeps one home registration.

    Args:
        carrier: the way to the home agent.
        sequence: of the Binding Update before the first; any number.
        trouble: called when a registration that stood is no more, with what may help.
        hostname: the name that the home agent shall give the home address in the DNS; empty for none.
    """

    def __init__(
        self, carrier: MobileCarrier, sequence: int, trouble: Callable[[Remedy], None], hostname: str = ""
    ) -> None:
        self._carrier = carrier
        self._timing = Timing()
        self._trouble = trouble
        self._state: registration.State = registration.start(sequence)
        self._timer: asyncio.TimerHandle | None = None
        self._hostname = hostname
        self._dns_status: int | None = None
        self._last_update: SendUpdate | None = None
        self._alternatives: tuple[IPv6Address, ...] = ()
        self._settled: asyncio.Future[registration.State] | None = None

    @property
    def state(self) -> registration.State:
        """The state of the registration."""
        return self._state

    @property
    def dns_status(self) -> int | None:
        """What the home agent said of the name last (RFC 5026 section 8.1), None if nothing."""
        return self._dns_status

    @property
    def alternatives(self) -> tuple[IPv6Address, ...]:
        """The home agents that the one we are registered with has sent us to, the first to be tried first."""
        return self._alternatives

    @property
    def remaining(self) -> float | None:
        """Seconds until the binding ends, None if there is none."""
        expires = self._state.expires if isinstance(self._state, registration.Registered) else None
        return None if expires is None else expires - time.monotonic()

    async def register(self, home_address: IPv6Address, home_agent: IPv6Address, care_of: IPv6Address) -> int:
        """Register a home address, and return the lifetime that was granted, in seconds.

        Raises:
            RefusedError: the home agent refused or did not answer.
        """
        self.close()

        def heard(octets: bytes, source: IPv6Address) -> None:
            self._heard(octets, source, home_address, home_agent)

        self._carrier.open(home_address, home_agent, heard)
        wanted = Binding(home_address, care_of, home_agent, LIFETIME // wire.LIFETIME_UNIT)
        return _granted(await self._settle(registration.register(self._state, wanted, self._timing, time.monotonic())))

    async def move(self, care_of: IPv6Address) -> int:
        """Take a new care-of address to the home agent, and return the lifetime that was granted, in seconds.

        Raises:
            RefusedError: the home agent refused or did not answer.
        """
        return _granted(await self._settle(registration.moved(self._state, care_of, self._timing, time.monotonic())))

    async def delete(self, *, at_home: bool = False) -> None:
        """Delete the binding, from the home link or from away; done also if the home agent does not answer."""
        now = time.monotonic()
        step = (
            registration.home_returned(self._state, self._timing, now)
            if at_home
            else registration.deregister(self._state, self._timing, now)
        )
        if isinstance(step.state, registration.Deregistering):
            await self._settle(step)

    def prefixes_known(self) -> None:
        """Take it that the home address stays valid, so that the binding may be refreshed (RFC 6275 section 11.7.1)."""
        self._take(registration.prefixes_known(self._state))

    def close(self) -> None:
        """Stop hearing and sending; the binding at the home agent is left to its lifetime."""
        self._carrier.close()
        if self._timer:
            self._timer.cancel()
        self._alternatives = ()
        self._dns_status = None
        self._state = registration.start(self._state.exchange.sequence)

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
        if self._timer:
            self._timer.cancel()
        deadline = registration.deadline(self._state)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(deadline, self._due) if deadline is not None else None
        if self._settled and not self._settled.done() and isinstance(self._state, _RESTING):
            self._settled.set_result(self._state)

    def _act(self, action: registration.Action) -> None:
        match action:
            case SendUpdate():
                self._send(action)
            case registration.Confirmed(binding=binding):
                note("registered", home_address=binding.home_address, care_of_address=binding.care_of)
            case registration.Pursue(remedy=remedy, status=status):
                discovery = remedy is registration.Remedy.PREFIX_DISCOVERY
                note("prefixes unknown" if discovery else "registration failed", remedy=remedy.name, status=status)
                if self._settled is None or discovery:
                    self._trouble(remedy)
            case registration.Ignore(reason=reason, section=section):
                note("ignored", reason=reason, section=section)
            case registration.Lapsed() | registration.Deregistered():
                note(type(action).__name__.lower(), home_address=action.home_address)

    def _send(self, action: SendUpdate) -> None:
        self._last_update = action
        options: tuple[wire.Option, ...] = (wire.AlternateCareOfAddress(action.care_of), *self._wish(action))
        update = wire.BindingUpdate(action.sequence, action.flags, action.lifetime_units, options)
        note(
            "binding update",
            sequence=action.sequence,
            care_of_address=action.care_of,
            home_address=action.home_address,
            lifetime=update.lifetime,
        )
        try:
            self._carrier.send(update, action)
        except OSError as error:
            note("not sent", reason=str(error))  # the state machine sends again

    def _heard(self, octets: bytes, source: IPv6Address, home_address: IPv6Address, home_agent: IPv6Address) -> None:
        if source != home_agent:
            note("ignored", source=source, reason="not from the home agent")
            return
        try:
            message = wire.decode(octets, source, home_address, verify=False)  # the checksum is verified
        except WireError as error:
            self._malformed(source, error)
        else:
            self._understood(message, octets, source)

    def _malformed(self, source: IPv6Address, error: WireError) -> None:
        note("malformed", source=source, reason=str(error))
        if isinstance(error, wire.UnknownTypeError):  # RFC 6275 section 9.2
            self._answer(wire.BindingError(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, _NO_HOME_ADDRESS))

    def _understood(self, message: wire.Message, octets: bytes, source: IPv6Address) -> None:
        now = time.monotonic()
        match message:
            case wire.BindingAcknowledgement():
                note("binding acknowledgement", status=message.status, sequence=message.sequence)
                authentic = self._carrier.authentic(message, octets)
                told = wire.option(message, wire.DnsUpdate)
                if told and authentic:
                    self._dns_status = told.status
                    note("dns update", name=told.fqdn, status=told.status)
                step = registration.acknowledgement(self._state, message, authentic, self._timing, now)
            case wire.BindingRefreshRequest():
                step = registration.refresh_request(self._state, self._timing, now)
            case wire.BindingError():
                step = registration.error(self._state, message.status, self._timing, now)
            case wire.BindingRevocation() | wire.HomeAgentSwitch() if not self._carrier.proves_orders():
                note("ignored", source=source, reason="an order that nobody proved", type=type(message).__name__)
                return
            case wire.BindingRevocation(kind=wire.RevocationKind.INDICATION):
                self._acknowledge_revocation(message)
                step = registration.revoked(self._state)
            case wire.HomeAgentSwitch(addresses=addresses):
                note("home agent switch", home_agents=[str(address) for address in addresses])
                self._alternatives = addresses
                self._trouble(registration.Remedy.SWITCH_HOME_AGENT)
                return
            case _:
                note("ignored", source=source, type=type(message).__name__)
                return
        self._take(step)

    def _wish(self, action: SendUpdate) -> tuple[wire.DnsUpdate, ...]:
        """Ask for the name until the home agent has answered, and for its end with that of the home address.

        At home the mobile node keeps its home address, and with it the name (RFC 5026 section 6).
        """
        if not self._hostname:
            return ()
        performed = self._dns_status is not None and self._dns_status < wire.DnsStatus.REASON_UNSPECIFIED
        if action.lifetime_units == 0:
            ends = performed and action.care_of != action.home_address
            return (wire.DnsUpdate(self._hostname, remove=True),) if ends else ()
        retry = self._dns_status in (None, wire.DnsStatus.FAILED)
        return (wire.DnsUpdate(self._hostname),) if retry else ()

    def _acknowledge_revocation(self, indication: wire.BindingRevocation) -> None:
        """Answer before the way to the home agent is given up (RFC 5846 section 11.1)."""
        bound = isinstance(self._state, registration.Registering | registration.Registered)
        status = wire.RevocationStatus.SUCCESS if bound else wire.RevocationStatus.BINDING_DOES_NOT_EXIST
        note("binding revocation indication", trigger=indication.code, status=int(status))
        self._answer(wire.BindingRevocation(wire.RevocationKind.ACKNOWLEDGEMENT, status, indication.sequence))

    def _answer(self, message: wire.Message) -> None:
        """Answer the home agent the way that the last update went."""
        if self._last_update:
            try:
                self._carrier.answer(message, self._last_update)
            except OSError as error:
                note("not sent", reason=str(error))  # the home agent asks again

    def _due(self) -> None:
        self._take(registration.timeout(self._state, self._timing, time.monotonic()))


def _granted(state: registration.State) -> int:
    match state:
        case registration.Registered():
            return round(state.expires - state.exchange.sent[-1])
        case registration.Failed(remedy=remedy, status=status):
            raise RefusedError(_refusal(status), remedy)
    raise RefusedError("there is no registration", registration.Remedy.REDISCOVER)


def _refusal(status: int | None) -> str:
    if status is None:
        return "the home agent did not acknowledge the Binding Update"
    try:
        meaning = wire.BindingStatus(status).name.lower().replace("_", " ")
    except ValueError:
        meaning = "unknown"
    return f"the home agent refused the Binding Update with status {status}, {meaning}"
