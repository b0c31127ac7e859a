"""A DHCPv6 client on one interface, stateless and stateful."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from testbed.mip6.dhcpv6 import (
    INFINITY,
    Association,
    Code,
    LeasedAddress,
    Message,
    MessageType,
    Option,
    StatusCode,
    encode_association,
)
from testbed.mip6.dhcpv6_exchange import RFC8415_TIMERS, Endpoint, Timers
from testbed.mip6.homeinfo import HomeNetworkInfo, home_networks
from testbed.mip6.interface import Interface
from testbed.mip6.names import encode_name

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from ipaddress import IPv6Address

_LARGEST_PREFERENCE = 255
_MAX_DELAY = 1.0  # SOL_MAX_DELAY and INF_MAX_DELAY, RFC 8415 section 7.6
_REFRESH_DEFAULT, _REFRESH_LEAST = 86400, 600  # RFC 8415 section 7.6
_T1_SHARE, _T2_SHARE = 0.5, 0.8  # RFC 8415 section 21.4


@dataclass(frozen=True, slots=True)
class HomeQuery:
    """Which home networks to ask for (RFC 6610 section 4.1.1).

    A server that is Kea 2.2 answers the first of several identified networks only.
    """

    identified: tuple[str, ...] = ()
    visited: bool = False
    unrestricted: bool = False

    @property
    def codes(self) -> tuple[int, ...]:
        """The option codes to request."""
        containers = (
            Code.VISITED * self.visited,
            Code.IDENTIFIED * bool(self.identified),
            Code.UNRESTRICTED * self.unrestricted,
        )
        asked = tuple(filter(None, containers))
        inside = (Code.HOME_NETWORK_ID, Code.HOME_PREFIX, Code.HOME_AGENT_ADDRESS, Code.HOME_AGENT_FQDN)
        return (*asked, *inside) if asked else ()


@dataclass(frozen=True, slots=True)
class Information:
    """What a server told besides addresses; ``refresh`` is in seconds, 0xffffffff for ever.

    ``server`` is the DUID of the server.
    """

    server: bytes
    dns_servers: tuple[IPv6Address, ...]
    domains: tuple[str, ...]
    refresh: int
    home_networks: tuple[HomeNetworkInfo, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """Addresses that a server leased, none of them configured yet.

    ``t1`` and ``t2`` are seconds from ``obtained``, which is a time of the event loop; infinite for ever.
    """

    iaid: int
    addresses: tuple[LeasedAddress, ...]
    t1: float
    t2: float
    obtained: float
    information: Information


class Client:
    """The DHCPv6 client of one interface; one exchange at a time.

    Args:
        interface: its name.
        rng: where transaction identifiers, delays and jitter come from.
        home: the home networks to ask for, in every message.
        timers: the retransmission of every message.

    Raises:
        UnsupportedError: no such Ethernet interface.
        WireError: an identified home network is no domain name.

    Every exchange raises NotReadyError, its evidence what was passed over and why, when no server answered
    within ``deadline`` seconds or when the interface has no usable link-local address, and UnsupportedError
    without the right to bind port 546. Anything invalid that arrives is ignored. Source: RFC 8415 sections 16
    and 18.2.
    """

    def __init__(
        self,
        interface: str,
        *,
        rng: random.Random,
        home: HomeQuery | None = None,
        timers: Timers = RFC8415_TIMERS,
    ) -> None:
        link = Interface.named(interface)
        self._endpoint = Endpoint(link, rng, timers)
        self._rng = rng
        self._home = home or HomeQuery()
        self._iaid = int.from_bytes(link.mac[-4:], "big")
        self._names = tuple((int(Code.HOME_NETWORK_ID), encode_name(n)) for n in self._home.identified)

    async def information_request(self, *, max_delay: float = _MAX_DELAY, deadline: float = 60.0) -> Information:
        """Ask for everything but addresses, after a random delay of up to ``max_delay`` seconds.

        Source: RFC 8415 section 18.2.6.
        """
        async with self._endpoint.opened(deadline):
            await asyncio.sleep(self._rng.uniform(0, max_delay))
            options = self._asked(Code.REFRESH_TIME, Code.INF_MAX_RT)
            return await self._endpoint.exchange(
                MessageType.INFORMATION_REQUEST,
                options,
                self._informed,
            )

    async def solicit(self, *, max_delay: float = _MAX_DELAY, deadline: float = 60.0) -> Lease:
        """Get a lease in two messages from a server that allows rapid commit, in four from another.

        A random delay of up to ``max_delay`` seconds comes first. A refused Request starts over after the
        first timeout of a Solicit.

        Source: RFC 8415 sections 18.2.1, 18.2.2, 18.2.9 and 18.2.10.
        """
        async with self._endpoint.opened(deadline):
            await asyncio.sleep(self._rng.uniform(0, max_delay))
            while True:
                answer = await self._discover()
                if answer.type == MessageType.ADVERTISE:
                    offered = self._association(answer)
                    answer = await self._request(answer.server_id, offered.addresses if offered else ())
                lease = self._lease(answer)
                if lease is not None:
                    return lease
                await asyncio.sleep(self._endpoint.timers[MessageType.SOLICIT].after(0, self._rng))

    async def renew(self, lease: Lease, *, deadline: float) -> Lease:
        """Extend a lease at its server; ``deadline`` is commonly what is left until T2.

        Raises:
            NotReadyError: also if the server does not extend it.

        Source: RFC 8415 section 18.2.4.
        """
        return await self._extend(MessageType.RENEW, lease, deadline)

    async def rebind(self, lease: Lease, *, deadline: float) -> Lease:
        """Extend a lease at any server; ``deadline`` is commonly what is left of the last valid lifetime.

        Raises:
            NotReadyError: also if the server does not extend it.

        Source: RFC 8415 section 18.2.5.
        """
        return await self._extend(MessageType.REBIND, lease, deadline)

    async def release(self, lease: Lease, *, deadline: float = 60.0) -> None:
        """Give a lease back; its addresses are no longer in use by then (RFC 8415 section 18.2.7)."""
        await self._give_back(MessageType.RELEASE, lease, deadline)

    async def decline(self, lease: Lease, *, deadline: float = 60.0) -> None:
        """Tell the server that the addresses are in use by somebody else (RFC 8415 section 18.2.8)."""
        await self._give_back(MessageType.DECLINE, lease, deadline)

    async def _discover(self) -> Message:
        """Give the best Advertise, or the Reply of a rapid commit."""
        best: Message | None = None
        collecting = True

        def take(message: Message) -> Message | None:
            nonlocal best
            if message.type == MessageType.REPLY and not message.rapid_commit:
                self._endpoint.pass_over(message, "a Reply without rapid commit")
            elif self._association(message) is not None:
                self._information(message)
                if message.type == MessageType.REPLY or message.preference == _LARGEST_PREFERENCE:
                    return message
                if best is None or message.preference > best.preference:
                    best = message
            return None if collecting else best

        def settle() -> Message | None:
            nonlocal collecting
            collecting = False
            return best

        options = (*self._asked(Code.SOL_MAX_RT), (Code.RAPID_COMMIT, b""), self._ia(()))
        return await self._endpoint.exchange(MessageType.SOLICIT, options, take, settle)

    async def _request(self, server: bytes | None, addresses: tuple[LeasedAddress, ...]) -> Message:
        options = (*self._asked(Code.SOL_MAX_RT), *_server(server), self._ia(addresses))
        return await self._endpoint.exchange(MessageType.REQUEST, options, self._reply_from(server))

    async def _extend(self, kind: MessageType, lease: Lease, deadline: float) -> Lease:
        server = lease.information.server if kind == MessageType.RENEW else None
        options = (*self._asked(Code.SOL_MAX_RT), *_server(server), self._ia(lease.addresses))
        async with self._endpoint.opened(deadline):
            answer = await self._endpoint.exchange(
                kind,
                options,
                self._reply_from(server),
            )
            associations = [a for a in answer.associations if a.iaid == self._iaid]
            if associations and associations[0].status.code == StatusCode.NO_BINDING:
                # The server forgot: RFC 8415 section 18.2.10.1 asks for a Request.
                answer = await self._request(answer.server_id, lease.addresses)
        extended = self._lease(answer)
        if extended is None:
            raise self._endpoint.failed(f"the server did not answer {kind.name} with a lease")
        return extended

    async def _give_back(self, kind: MessageType, lease: Lease, deadline: float) -> None:
        server = lease.information.server
        options = (*_server(server), self._ia(lease.addresses))
        async with self._endpoint.opened(deadline):
            await self._endpoint.exchange(kind, options, self._reply_from(server))

    def _reply_from(self, server: bytes | None) -> Callable[[Message], Message | None]:
        """Take a Reply of this server, or of any, in which nothing is malformed."""

        def take(message: Message) -> Message | None:
            if message.type != MessageType.REPLY or server not in (None, message.server_id):
                self._endpoint.pass_over(message, "no Reply of the server that was asked")
                return None
            self._check(message)
            return message

        return take

    def _check(self, message: Message) -> None:
        """Read what is read of a lease, so that a malformed option shows while there is time for another."""
        self._information(message)
        self._association(message)

    def _asked(self, *codes: Code) -> tuple[Option, ...]:
        wanted = (Code.DNS_SERVERS, Code.DOMAIN_LIST, *codes, *self._home.codes)
        return (Code.ORO, b"".join(code.to_bytes(2, "big") for code in wanted)), *self._names

    def _ia(self, addresses: tuple[LeasedAddress, ...]) -> Option:
        hints = tuple(LeasedAddress(leased.address, 0, 0) for leased in addresses)
        return Code.IA_NA, encode_association(Association(self._iaid, addresses=hints))

    def _informed(self, message: Message) -> Information | None:
        if message.type != MessageType.REPLY or message.status.code != StatusCode.SUCCESS:
            self._endpoint.pass_over(message, str(message.status))
            return None
        return self._information(message)

    def _information(self, message: Message) -> Information:
        refresh = message.refresh_time
        return Information(
            server=message.server_id or b"",
            dns_servers=message.dns_servers,
            domains=message.domains,
            refresh=_REFRESH_DEFAULT if refresh is None else max(refresh, _REFRESH_LEAST),
            home_networks=home_networks(message.options, self._home.identified),
        )

    def _association(self, message: Message) -> Association | None:
        """Give our association with what is usable in it, None if nothing is."""
        for association in message.associations:
            if association.iaid == self._iaid:
                status = message.status if message.status.code else association.status
                alive = tuple(a for a in association.addresses if a.valid and not a.status.code)
                if alive and not status.code:
                    return replace(association, addresses=alive)
                self._endpoint.pass_over(message, str(status) if status.code else "no usable address")
                return None
        self._endpoint.pass_over(message, f"no association of ours, {message.status}")
        return None

    def _lease(self, message: Message) -> Lease | None:
        association = self._association(message)
        if association is None:
            return None
        shortest = min(leased.preferred for leased in association.addresses)
        times = association.t1 or shortest * _T1_SHARE, association.t2 or shortest * _T2_SHARE
        if not association.t1 and not association.t2 and shortest == INFINITY:
            times = INFINITY, INFINITY
        t1, t2 = (float("inf") if time >= INFINITY else float(time) for time in times)
        obtained = asyncio.get_running_loop().time()
        return Lease(self._iaid, association.addresses, t1, t2, obtained, self._information(message))


def _server(server: bytes | None) -> tuple[Option, ...]:
    return () if server is None else ((Code.SERVER_ID, server),)
