"""A mobile node's registration with its home agent: the state machine of ``registration`` with a socket and a clock."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from testbed.errors import TestbedError, WireError
from testbed.mip6 import registration, wire
from testbed.mip6.journal import note
from testbed.mip6.retransmission import Binding, SendUpdate, Timing
from testbed.mip6.signalling import Signalling

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv6Address

    from testbed.mip6.registration import Remedy

LIFETIME = 600  # seconds that are asked for
_RESTING = registration.Registered | registration.Idle | registration.Failed


class RefusedError(TestbedError):
    """The home agent refused a registration or did not answer; ``remedy`` says what may help."""

    def __init__(self, message: str, remedy: Remedy) -> None:
        super().__init__(message)
        self.remedy = remedy


class Registrar:
    """Keeps one home registration.

    Args:
        sequence: of the Binding Update before the first; any number.
        trouble: called when a registration that stood is no more, with what may help.
    """

    def __init__(self, sequence: int, trouble: Callable[[Remedy], None]) -> None:
        self._timing = Timing()
        self._trouble = trouble
        self._state: registration.State = registration.start(sequence)
        self._signalling: Signalling | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Future[registration.State] | None = None

    @property
    def state(self) -> registration.State:
        """The state of the registration."""
        return self._state

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

        self._signalling = Signalling(home_address, heard)
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

    def close(self) -> None:
        """Stop hearing and sending; the binding at the home agent is left to its lifetime."""
        if self._signalling:
            self._signalling.close()
            self._signalling = None
        if self._timer:
            self._timer.cancel()
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
                note("registration failed", remedy=remedy.name, status=status)
                if self._settled is None:
                    self._trouble(remedy)
            case registration.Ignore(reason=reason, section=section):
                note("ignored", reason=reason, section=section)
            case registration.Lapsed() | registration.Deregistered():
                note(type(action).__name__.lower(), home_address=action.home_address)

    def _send(self, action: SendUpdate) -> None:
        options = (wire.AlternateCareOfAddress(action.care_of),)
        update = wire.BindingUpdate(action.sequence, action.flags, action.lifetime_units, options)
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

    def _heard(self, octets: bytes, source: IPv6Address, home_address: IPv6Address, home_agent: IPv6Address) -> None:
        if source != home_agent:
            note("ignored", source=source, reason="not from the home agent")
            return
        try:
            message = wire.decode(octets, source, home_address, verify=False)  # the kernel verified the checksum
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
