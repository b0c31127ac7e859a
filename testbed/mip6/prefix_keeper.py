"""The mobile node's part of mobile prefix discovery (RFC 6275 sections 11.4.2 and 11.4.3)."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from testbed.mip6 import wire
from testbed.mip6.icmp_socket import IcmpSocket
from testbed.mip6.journal import note
from testbed.mip6.mobile_prefixes import next_solicitation

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from ipaddress import IPv6Address

INITIAL_SOLICIT_TIMER = 3.0  # seconds: RFC 6275 section 12
_LONGEST_TIMER = 48.0  # seconds; RFC 6275 section 11.4.2 leaves it open


class PrefixKeeper:
    """Knows whether the home address stays valid: asks the home agent, and asks again in time.

    Args:
        rng: draws identifiers.
        known: called when the home address is known to stay valid for a while.
        lost: called when it is not valid any more.
    """

    def __init__(self, rng: random.Random, known: Callable[[], None], lost: Callable[[], None]) -> None:
        self._rng = rng
        self._known = known
        self._lost = lost
        self._home: IPv6Address | None = None
        self._agent: IPv6Address | None = None
        self._socket: IcmpSocket | None = None
        self._identifier: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self, home_address: IPv6Address, home_agent: IPv6Address) -> None:
        """Begin to hear for a home address."""
        self.close()
        self._home, self._agent = home_address, home_agent
        self._socket = IcmpSocket((wire.IcmpType.MOBILE_PREFIX_ADVERTISEMENT,), self._heard)

    def close(self) -> None:
        """Undo ``open``; a second time does nothing."""
        self._identifier = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._socket:
            self._socket.close()
            self._socket = None

    def solicit(self) -> None:
        """Ask the home agent, unless an answer is awaited already; repeat it until there is one."""
        if self._socket and self._identifier is None:
            self._identifier = self._rng.randrange(1, 1 << 16)
            self._transmit(INITIAL_SOLICIT_TIMER)

    def _transmit(self, timeout: float) -> None:
        if self._socket is None or self._identifier is None or self._home is None or self._agent is None:
            return
        note("mobile prefix solicitation", identifier=self._identifier)
        try:
            self._socket.send(wire.MobilePrefixSolicitation(self._identifier), self._home, self._agent)
        except OSError as error:
            note("not sent", reason=str(error))
        self._later(timeout, lambda: self._transmit(min(2 * timeout, _LONGEST_TIMER)))

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None if math.isinf(seconds) else asyncio.get_running_loop().call_later(seconds, then)

    def _heard(self, message: wire.IcmpMessage, source: IPv6Address, destination: IPv6Address) -> None:
        if not isinstance(message, wire.MobilePrefixAdvertisement) or self._home is None:
            return
        if source != self._agent or destination != self._home:
            note("ignored", source=source, reason="prefixes from another than the home agent")
            return
        if message.identifier != self._identifier:
            note("mobile prefix advertisement", identifier=message.identifier, solicited=False)
            self.solicit()  # it must be discarded: RFC 6275 section 11.4.3
            return
        self._identifier = None
        seconds = next_solicitation(message, self._home)
        note("mobile prefix advertisement", identifier=message.identifier, solicited=True, ask_again=seconds)
        if seconds is None:
            self._lost()
        else:
            self._later(seconds, self.solicit)
            self._known()
