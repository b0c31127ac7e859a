"""Dynamic Home Agent Address Discovery, both ends (RFC 6275 sections 10.5 and 11.4.1)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from testbed.errors import NotReadyError
from testbed.mip6 import wire
from testbed.mip6.discovery import DiscoveryError, HomeAgent
from testbed.mip6.home_agents_list import HomeAgentsList, home_agents_anycast
from testbed.mip6.icmp_socket import IcmpSocket
from testbed.mip6.interface import Interface
from testbed.mip6.journal import note
from testbed.mip6.ndlink import HeardRouter, RouterSolicitor

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from ipaddress import IPv6Address, IPv6Network

    from testbed.mip6 import control

INITIAL_DHAAD_TIMEOUT = 3.0  # seconds: RFC 6275 section 12
DHAAD_RETRIES = 4  # RFC 6275 section 12


class HomeAgentDiscovery:
    """A home agent's part: it learns of the others on its home link, and tells mobile nodes of all.

    Args:
        interface: the name of the one on the home link.
        prefix: of the home link.
        address: the home agent's own on it.
        preference: the home agent's own.
        rng: orders home agents of equal preference.
        advertised: called with each Router Advertisement on the home link, and whether it is this node's own.
    """

    def __init__(
        self,
        interface: str,
        prefix: IPv6Network,
        address: IPv6Address,
        preference: int,
        *,
        rng: random.Random,
        advertised: Callable[[HeardRouter, bool], None],
    ) -> None:
        self._interface = interface
        self._anycast = home_agents_anycast(prefix)
        self._address = address
        self._rng = rng
        self._tell = advertised
        self._list = HomeAgentsList.of(address, preference)
        self._socket: IcmpSocket | None = None

    async def run(self) -> None:
        """Learn and answer until cancelled."""
        with (
            RouterSolicitor(self._interface, self._advertised, loop=True) as solicitor,
            IcmpSocket((wire.IcmpType.HOME_AGENT_DISCOVERY_REQUEST,), self._asked) as self._socket,
        ):
            self._socket.join_anycast(self._anycast, self._interface)
            with contextlib.suppress(NotReadyError, OSError):  # the others advertise themselves anyhow
                await solicitor.solicit()
            await asyncio.Event().wait()

    def addresses(self) -> tuple[IPv6Address, ...]:
        """List the home agents in the order in which mobile nodes are to try them."""
        return self._list.addresses(time.monotonic(), self._rng)

    async def status(self, _request: dict[str, Any], _send: control.Send) -> dict[str, Any]:
        """Tell the home agents list, this home agent first."""
        now = time.monotonic()
        current = self._list.current(now)
        told = [
            {
                "addresses": [str(address) for address in entry.addresses],
                "preference": entry.preference,
                "remaining": None if entry is current.own else round(entry.expires - now, 1),
            }
            for entry in (current.own, *current.others.values())
        ]
        return {"home_agents": told}

    def _advertised(self, heard: HeardRouter) -> None:
        own = heard.router in Interface.named(self._interface).addresses()
        self._tell(heard, own)
        if own:
            return  # what this node's radvd sends comes back to it
        before = self._list
        self._list = before.heard(heard.router, heard.advertisement, time.monotonic())
        if self._list.others.keys() != before.others.keys():
            note("home agents", others=[str(a) for entry in self._list.others.values() for a in entry.addresses])

    def _asked(self, message: wire.IcmpMessage, source: IPv6Address, destination: IPv6Address) -> None:
        if not isinstance(message, wire.HomeAgentDiscoveryRequest) or destination != self._anycast:
            return
        reply = wire.HomeAgentDiscoveryReply(message.identifier, self.addresses())
        note("home agent discovery", source=source, home_agents=[str(address) for address in reply.addresses])
        if self._socket is None:
            raise AssertionError("only its socket calls this")
        try:
            self._socket.send(reply, self._address, source)
        except OSError as error:
            note("not sent", destination=source, reason=str(error))


async def discover(prefix: IPv6Network, care_of: IPv6Address, rng: random.Random) -> list[HomeAgent]:
    """Find the home agents of a home prefix, in the order to try them.

    What they are called is unknown: each has to prove its address instead of a name.

    Raises:
        DiscoveryError: none answered, or the answer lists none.
    """
    anycast = home_agents_anycast(prefix)
    request = wire.HomeAgentDiscoveryRequest(rng.randrange(1 << 16))
    answered: asyncio.Future[tuple[IPv6Address, ...]] = asyncio.get_running_loop().create_future()

    def heard(message: wire.IcmpMessage, _source: IPv6Address, _destination: IPv6Address) -> None:
        if not isinstance(message, wire.HomeAgentDiscoveryReply) or message.identifier != request.identifier:
            return
        if not answered.done():
            answered.set_result(message.addresses)

    timeout = INITIAL_DHAAD_TIMEOUT
    with IcmpSocket((wire.IcmpType.HOME_AGENT_DISCOVERY_REPLY,), heard) as link:
        for _ in range(DHAAD_RETRIES):
            try:
                link.send(request, care_of, anycast)
            except OSError as error:
                note("not sent", destination=anycast, reason=str(error))
            await asyncio.wait((answered,), timeout=timeout)
            if answered.done():
                break
            timeout *= 2
        else:
            raise DiscoveryError(f"no home agent of {prefix} answered {DHAAD_RETRIES} requests to {anycast}")
    if not answered.result():
        raise DiscoveryError(f"a home agent of {prefix} answered without an address")
    return [HomeAgent(str(address), address) for address in answered.result()]
