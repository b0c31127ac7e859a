"""A mobile node's attachment to an access network: link, router, care-of address, DNS servers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from testbed.errors import NotReadyError, TestbedError
from testbed.mip6 import leasing
from testbed.mip6.dhcpv6_client import Client, Information, Lease
from testbed.mip6.journal import note
from testbed.mip6.ndlink import HeardRouter, RouterSolicitor
from testbed.mip6.steps import Name, Steps
from testbed.netlink import (
    Address,
    AddressFlag,
    Gone,
    Netlink,
    NetlinkError,
    Overrun,
    Present,
    Watcher,
    address_del,
    link_set,
    route_del,
    write_sysctl,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_ADDRESS_DEADLINE = 10.0  # seconds; DAD takes one (RFC 4862 section 5.1)
_DHCP_DEADLINE = 15.0
_LEASES = 3  # tries until a leased address is nobody else's


class DuplicateAddressError(TestbedError):
    """Another node on the link has the address (RFC 4862 section 5.4.5)."""


@dataclass(frozen=True)
class Attachment:
    """Where a mobile node is attached; ``care_of`` has the prefix ``prefix``."""

    care_of: IPv6Address
    prefix: IPv6Network
    router: IPv6Address
    dns_servers: tuple[IPv6Address, ...]
    domains: tuple[str, ...]
    lease: Lease | None


@dataclass(frozen=True)
class Delays:
    """Longest random delays, in seconds (RFC 4861 section 10, RFC 8415 section 7.6)."""

    solicitation: float
    dhcp: float


async def attach(interface: str, delays: Delays, rng: random.Random, steps: Steps) -> Attachment:
    """Attach from nothing to whatever network the interface is plugged into.

    Raises:
        BootstrapError: no router, no address or no lease; names the step.
    """
    async with steps.step(Name.ATTACH) as step:
        began = time.monotonic()
        # RFC 4862 section 5.4.2: the first message after an interface comes up is delayed by chance; here all wait
        await asyncio.sleep(rng.uniform(0, delays.solicitation))
        _optimistic(interface, wanted=False)
        with Netlink() as netlink:
            # down first: what an earlier attachment left, addresses and routes, goes with it
            netlink.apply(link_set(interface, up=False), link_set(interface, up=True))
            device = netlink.link(interface).index
        own = await _usable(device, lambda address: address.interface.ip.is_link_local, interface)
        step.text = f"{own.interface.ip} on {interface}"
        step.waiting = time.monotonic() - began
    async with steps.step(Name.ROUTER) as step:
        heard = await find_router(interface)
        step.text = f"{heard.router} advertises {_prefixes(heard)}"
        step.facts["router"] = heard.router
    return await settle(interface, heard, delays, rng, steps)


async def find_router(interface: str) -> HeardRouter:
    """Solicit a router.

    Raises:
        NotReadyError: none answered.
    """
    with RouterSolicitor(interface) as solicitor:
        return await solicitor.solicit()


async def settle(
    interface: str, heard: HeardRouter, delays: Delays, rng: random.Random, steps: Steps, *, moving: bool = False
) -> Attachment:
    """Get a care-of address and DNS servers the way that the router says.

    While ``moving``, the address is used during DAD already, where the kernel can (RFC 4429), and nothing is asked of
    DHCPv6 that the router has told.

    Raises:
        BootstrapError: no address or no lease.
    """
    async with steps.step(Name.CARE_OF) as step:
        began = time.monotonic()
        with Netlink() as netlink:
            device = netlink.link(interface).index
        client = Client(interface, rng=rng)
        if moving:
            _optimistic(interface, wanted=True)
        information: Information | None
        if heard.advertisement.managed:
            lease, address = await _lease(client, device, interface, delays, optimistic=moving)
            information = lease.information
            prefix, way = _on_link(heard, address.interface.ip), "DHCPv6"
        else:
            lease, prefix = None, _autonomous(heard)
            address, information = await asyncio.gather(
                _usable(device, lambda a: a.interface.ip in prefix, interface),
                _information(client, heard, delays, skip=moving and bool(heard.advertisement.rdnss)),
            )
            way = "SLAAC"
        servers = _servers(heard, information)
        step.text = f"{address.interface.ip} by {way}, DNS at {', '.join(map(str, servers)) or 'none'}"
        step.waiting = time.monotonic() - began
        step.facts.update(care_of_address=address.interface.ip, way=way)
    domains = information.domains if information else ()
    return Attachment(address.interface.ip, prefix, heard.router, servers, domains, lease)


def leave(interface: str, left: Attachment) -> None:
    """Forget a network that the interface is no longer plugged into: its addresses and its router.

    The kernel would keep both until their lifetimes end.
    """
    with Netlink() as netlink:
        device = netlink.link(interface).index
        for address in netlink.addresses(device):
            if address.interface.ip in left.prefix:
                netlink.apply(address_del(device, address.interface))
        for route in netlink.routes():
            if route.device == device and (route.via == left.router or route.destination == left.prefix):
                netlink.apply(route_del(route))


def _optimistic(interface: str, *, wanted: bool) -> None:
    """Have the kernel do optimistic DAD on the interface, or not; where it cannot, DAD is as always."""
    for name in ("optimistic_dad", "use_optimistic"):
        with contextlib.suppress(NetlinkError):
            write_sysctl(f"net/ipv6/conf/{interface}/{name}", int(wanted))


def _is(wanted: IPv6Address) -> Callable[[Address], bool]:
    return lambda address: address.interface.ip == wanted


async def _usable(device: int, wanted: Callable[[Address], bool], interface: str) -> Address:
    """Wait until an address on the device has passed DAD."""
    seen = "it has no such address"
    try:
        async with asyncio.timeout(_ADDRESS_DEADLINE):
            with Watcher() as watcher:
                with Netlink() as netlink:
                    present = netlink.addresses(device)
                for address in filter(wanted, present):
                    if address.usable:
                        return address
                    seen = f"{address.interface.ip} is tentative"
                async for event in watcher:
                    match event:
                        case Present(Address() as address) | Gone(Address() as address):
                            if address.device != device or not wanted(address):
                                continue
                            if AddressFlag.DADFAILED in address.flags:
                                raise DuplicateAddressError(
                                    f"{address.interface.ip} belongs to another node", where=interface
                                )
                            if isinstance(event, Present) and address.usable:
                                return address
                            seen = f"{address.interface.ip} is tentative"
                        case Overrun():
                            return await _usable(device, wanted, interface)
    except TimeoutError:
        raise NotReadyError(
            f"no usable address within {_ADDRESS_DEADLINE:g} s", where=interface, evidence=(seen,)
        ) from None
    raise AssertionError("the watcher has no end")


async def _lease(
    client: Client, device: int, interface: str, delays: Delays, *, optimistic: bool
) -> tuple[Lease, Address]:
    """Get a lease for an address that nobody else on the link has (RFC 8415 section 18.2.10.1)."""
    for _ in range(_LEASES):
        lease = await client.solicit(max_delay=delays.dhcp, deadline=_DHCP_DEADLINE)
        wanted = lease.addresses[0].address
        leasing.configure(interface, lease, optimistic=optimistic)
        try:
            return lease, await _usable(device, _is(wanted), interface)
        except DuplicateAddressError:
            note("lease declined", address=wanted)
            await client.decline(lease, deadline=_DHCP_DEADLINE)
    raise DuplicateAddressError(f"{_LEASES} leased addresses belonged to other nodes", where=interface)


async def _information(client: Client, heard: HeardRouter, delays: Delays, *, skip: bool) -> Information | None:
    """Ask for the other configuration if the router says that there is some; it is no must if RDNSS is there."""
    if skip or not heard.advertisement.other:
        return None
    try:
        return await client.information_request(max_delay=delays.dhcp, deadline=_DHCP_DEADLINE)
    except NotReadyError:
        if heard.advertisement.rdnss:
            return None
        raise


def _on_link(heard: HeardRouter, address: IPv6Address) -> IPv6Network:
    """The advertised prefix of a leased address; the address alone if there is none (RFC 5942 section 3)."""
    networks = (prefix.network for prefix in heard.advertisement.prefixes)
    return next((network for network in networks if address in network), IPv6Network(address))


def _autonomous(heard: HeardRouter) -> IPv6Network:
    for prefix in heard.advertisement.prefixes:
        if prefix.autonomous and prefix.valid > 0:
            return prefix.network
    raise NotReadyError(
        "the router advertises no prefix to form an address from", evidence=(repr(heard.advertisement),)
    )


def _servers(heard: HeardRouter, information: Information | None) -> tuple[IPv6Address, ...]:
    """The announced DNS servers, those of the router first, each once (RFC 8106 section 5.3.1)."""
    announced = [server for option in heard.advertisement.rdnss for server in option.servers]
    told = information.dns_servers if information else ()
    return tuple(dict.fromkeys((*announced, *told)))


def _prefixes(heard: HeardRouter) -> str:
    return ", ".join(str(prefix.network) for prefix in heard.advertisement.prefixes) or "no prefix"
