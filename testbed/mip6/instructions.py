"""A home agent's instructions to its mobile nodes: switch home agent, refresh, accept a revocation.

RFC 5142 (Home Agent Switch), RFC 6275 section 6.1.2 (Binding Refresh Request), RFC 5846 (Binding Revocation).
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Protocol

from testbed.errors import LabError
from testbed.mip6 import directive, wire
from testbed.mip6.journal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from testbed.mip6 import control

_OUTCOME_DEADLINE = 10.0  # seconds that a command waits; a mobile node that can be reached answers at once
_SEQUENCES = 1 << 16  # RFC 5846 section 5.1


class Sender(Protocol):
    """Sends a message to a mobile node, with ``type2`` by a type 2 routing header."""

    def __call__(
        self, message: wire.Message, home_address: IPv6Address, destination: IPv6Address, /, *, type2: bool
    ) -> None:
        """Send it."""


class Instructions:
    """The instructions that mobile nodes have not followed yet, by home address.

    Args:
        send: sends a message to a mobile node.
        revoke: ends the binding of a home address.
        sequence: of the first Binding Revocation Indication; any number.
    """

    def __init__(self, send: Sender, revoke: Callable[[IPv6Address], None], sequence: int) -> None:
        self._sender = send
        self._revoke = revoke
        self._sequence = sequence
        self._ways: dict[IPv6Address, tuple[IPv6Address, bool]] = {}
        self._pending: dict[IPv6Address, directive.Directive] = {}
        self._timers: dict[IPv6Address, asyncio.TimerHandle] = {}
        self._outcomes: dict[IPv6Address, asyncio.Future[str]] = {}

    @property
    def bound(self) -> Collection[IPv6Address]:
        """The home addresses of the mobile nodes that can be told something."""
        return self._ways.keys()

    def reachable(self, home_address: IPv6Address, destination: IPv6Address, *, type2: bool) -> None:
        """Note where the last Binding Update that was accepted came from, and how to answer there."""
        self._ways[home_address] = (destination, type2)

    def switching(self, home_address: IPv6Address) -> bool:
        """Whether a mobile node was told to leave, so that its binding is no longer extended (RFC 5142 section 5.3)."""
        pending = self._pending.get(home_address)
        return pending is not None and isinstance(pending.order, wire.HomeAgentSwitch)

    def switch(self, home_address: IPv6Address, home_agents: Sequence[IPv6Address]) -> asyncio.Future[str]:
        """Send a mobile node to other home agents, to be tried in this order; it discovers some if there are none.

        Returns:
            what ended it: the mobile node's answer, or that the binding ended.
        """
        return self._give(home_address, wire.HomeAgentSwitch(tuple(home_agents)))

    def revoke(self, home_address: IPv6Address) -> asyncio.Future[str]:
        """Revoke a binding for an administrative reason.

        The binding ends with the mobile node's acknowledgement, or when none came.
        """
        self._sequence = (self._sequence + 1) % _SEQUENCES
        reason = wire.RevocationTrigger.ADMINISTRATIVE_REASON
        return self._give(home_address, wire.BindingRevocation(wire.RevocationKind.INDICATION, reason, self._sequence))

    def refresh(self, home_address: IPv6Address) -> None:
        """Ask a mobile node to refresh its binding."""
        note("binding refresh request", home_address=home_address)
        self._send(wire.BindingRefreshRequest(), home_address)

    def acknowledged(self, home_address: IPv6Address, answer: wire.BindingRevocation) -> None:
        """Take a Binding Revocation Acknowledgement: whatever it says, the binding ends (RFC 5846 section 8.2)."""
        pending = self._pending.get(home_address)
        order = pending.order if pending else None
        matches = isinstance(order, wire.BindingRevocation) and order.sequence == answer.sequence
        if answer.kind != wire.RevocationKind.ACKNOWLEDGEMENT or not matches:
            note("ignored", home_address=home_address, reason="it acknowledges no revocation")
            return
        note("binding revocation acknowledgement", home_address=home_address, status=answer.code)
        self._settle(home_address, f"acknowledged with status {answer.code}")
        self._revoke(home_address)

    def not_understood(self, home_address: IPv6Address) -> None:
        """Take a Binding Error of status 2: the mobile node does not know such messages."""
        order = self._pending[home_address].order if home_address in self._pending else None
        match order:
            case wire.HomeAgentSwitch():
                # it is served until its lifetime ends, which is not extended: RFC 5142 section 5.3
                self._stop(home_address)
                self._tell(home_address, "the mobile node does not know Home Agent Switch")
            case wire.BindingRevocation():
                self._settle(home_address, "the mobile node does not know Binding Revocation")
                self._revoke(home_address)
            case None:
                note("ignored", home_address=home_address, reason="nothing that this error could answer")

    def ended(self, home_address: IPv6Address, reason: str) -> None:
        """Forget a mobile node whose binding has ended, for whatever reason."""
        self._ways.pop(home_address, None)
        self._settle(home_address, reason)

    async def asked_to_switch(self, request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Control operation: send a mobile node to other home agents, ``to``; says how that ended."""
        home = self._named(request)
        try:
            agents = [IPv6Address(address) for address in request.get("to", ())]
        except (ValueError, TypeError) as error:
            raise LabError(f"no address of a home agent: {error}") from error
        return await _outcome(self.switch(home, agents))

    async def asked_to_refresh(self, request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Control operation: ask a mobile node to refresh its binding."""
        self.refresh(self._named(request))
        return {"outcome": "asked"}

    async def asked_to_revoke(self, request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Control operation: revoke a binding; says how that ended."""
        return await _outcome(self.revoke(self._named(request)))

    def _named(self, request: dict[str, Any]) -> IPv6Address:
        """Return the home address that a request names, which has to be bound."""
        named = request.get("home_address", "")
        home = next((home for home in self._ways if str(home) == named), None)
        if home is None:
            raise LabError(f"there is no binding of {named or 'nobody'}", hint="testbed status")
        return home

    def _send(self, message: wire.Message, home_address: IPv6Address) -> None:
        if home_address in self._ways:
            destination, type2 = self._ways[home_address]
            self._sender(message, home_address, destination, type2=type2)

    def _give(self, home_address: IPv6Address, order: directive.Order) -> asyncio.Future[str]:
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tell(home_address, "another instruction took its place")
        self._outcomes[home_address] = outcome
        self._pending[home_address] = directive.issue(order, time.monotonic(), self._pending.get(home_address))
        self._schedule(home_address)
        return outcome

    def _schedule(self, home_address: IPv6Address) -> None:
        self._stop(home_address)
        due = self._pending[home_address].due
        self._timers[home_address] = asyncio.get_running_loop().call_at(due, self._due, home_address)

    def _due(self, home_address: IPv6Address) -> None:
        pending = self._pending[home_address]
        following = directive.next_transmission(pending, time.monotonic())
        if following is None:
            self._settle(home_address, "not acknowledged")
            self._revoke(home_address)
            return
        note(_EVENTS[type(pending.order)], home_address=home_address, attempt=following.times)
        self._pending[home_address] = following
        self._send(pending.order, home_address)
        self._schedule(home_address)

    def _settle(self, home_address: IPv6Address, outcome: str) -> None:
        self._stop(home_address)
        self._pending.pop(home_address, None)
        self._tell(home_address, outcome)

    def _stop(self, home_address: IPv6Address) -> None:
        if timer := self._timers.pop(home_address, None):
            timer.cancel()

    def _tell(self, home_address: IPv6Address, outcome: str) -> None:
        future = self._outcomes.pop(home_address, None)
        if future and not future.done():
            future.set_result(outcome)


async def _outcome(instruction: asyncio.Future[str]) -> dict[str, Any]:
    await asyncio.wait((instruction,), timeout=_OUTCOME_DEADLINE)
    return {"outcome": instruction.result() if instruction.done() else "not followed yet, it is repeated"}


_EVENTS: dict[type[directive.Order], str] = {
    wire.HomeAgentSwitch: "home agent switch",
    wire.BindingRevocation: "binding revocation indication",
}
