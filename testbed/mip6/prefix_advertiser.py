"""The home agent's part of mobile prefix discovery (RFC 6275 section 10.6)."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from testbed.mip6 import wire
from testbed.mip6.icmp_socket import IcmpSocket
from testbed.mip6.journal import note
from testbed.mip6.mobile_prefixes import HomePrefixes, delivery_delay

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection
    from ipaddress import IPv6Address

    from testbed.mip6.ndlink import HeardRouter
    from testbed.mip6.policy import HomePrefix

PREFIX_ADV_TIMEOUT = 3.0  # seconds: RFC 6275 section 12
PREFIX_ADV_RETRIES = 3  # RFC 6275 section 12
_UNSOLICITED = 0  # the identifier of what nobody asked for


class PrefixAdvertiser:
    """Tells mobile nodes the prefixes of their home link: when they ask, and when something changes.

    Args:
        address: the home agent's own.
        interval: MinMobPfxAdvInterval and MaxMobPfxAdvInterval, in seconds (RFC 6275 section 13).
        bound: gives the home addresses that are registered.
        changed: called with the prefixes whenever they were advertised on the home link.
        rng: spreads what is sent unasked.
    """

    def __init__(
        self,
        address: IPv6Address,
        interval: tuple[float, float],
        bound: Callable[[], Collection[IPv6Address]],
        changed: Callable[[tuple[HomePrefix, ...]], None],
        rng: random.Random,
    ) -> None:
        self._address = address
        self._interval = interval
        self._bound = bound
        self._changed = changed
        self._rng = rng
        self._known = HomePrefixes({}, {})
        self._deliveries: dict[IPv6Address, asyncio.Task[None]] = {}
        self._socket: IcmpSocket | None = None

    async def run(self) -> None:
        """Answer until cancelled."""
        with IcmpSocket((wire.IcmpType.MOBILE_PREFIX_SOLICITATION,), self._asked) as self._socket:
            await asyncio.Event().wait()

    def heard(self, heard: HeardRouter, own: bool) -> None:
        """Take a Router Advertisement on the home link, this node's ``own`` or another's."""
        before, now = self._known, time.monotonic()
        self._known = before.heard(heard.router, heard.advertisement, now, own=own)
        self._changed(self._known.home_prefixes())
        for home in self._bound():
            if self._known.differs(before, home) and home not in self._deliveries:
                delivery = asyncio.get_running_loop().create_task(self._deliver(home))
                self._deliveries[home] = delivery
                delivery.add_done_callback(partial(self._delivered, home))

    def _delivered(self, home: IPv6Address, _delivery: asyncio.Task[None]) -> None:
        del self._deliveries[home]

    def _asked(self, message: wire.IcmpMessage, source: IPv6Address, destination: IPv6Address) -> None:
        if not isinstance(message, wire.MobilePrefixSolicitation) or destination != self._address:
            return
        if source not in self._bound():
            note("ignored", source=source, reason="a solicitation from no registered home address")
            return
        if not any(source in network for network in self._known.prefixes):
            return  # nothing is known yet; it will ask again
        if not self._known.prefixes:
            # just started: an answer without prefixes would take the mobile node's home away, and it asks again
            note("ignored", source=source, reason="no Router Advertisement was heard on the home link yet")
            return
        if delivery := self._deliveries.get(source):
            delivery.cancel()  # it was received
        self._send(message.identifier, source)

    async def _deliver(self, home: IPv6Address) -> None:
        """Tell a mobile node unasked, and again until it asks: that acknowledges it (section 10.6.2)."""
        known = [prefix for network, prefix in self._known.prefixes.items() if home in network]
        preferred = min((prefix.told.preferred for prefix in known), default=0)
        await asyncio.sleep(delivery_delay(*self._interval, preferred, self._rng))
        timeout = PREFIX_ADV_TIMEOUT
        for _ in range(1 + PREFIX_ADV_RETRIES):
            if home not in self._bound():
                return
            self._send(_UNSOLICITED, home)
            await asyncio.sleep(timeout)
            timeout *= 2

    def _send(self, identifier: int, home: IPv6Address) -> None:
        advertisement = self._known.advertisement(identifier, time.monotonic())
        told = [
            f"{p.prefix}/{p.prefix_length} {p.valid_lifetime} {p.preferred_lifetime}" for p in advertisement.prefixes
        ]
        note("mobile prefix advertisement", home_address=home, identifier=identifier, prefixes=told)
        if self._socket is None:
            return
        try:
            self._socket.send(advertisement, self._address, home)
        except OSError as error:
            note("not sent", home_address=home, reason=str(error))
