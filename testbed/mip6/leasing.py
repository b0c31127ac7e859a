"""Keeping a leased care-of address for as long as the server lets us (RFC 8415 sections 18.2.4 and 18.2.5)."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Interface
from typing import TYPE_CHECKING

from testbed.errors import NotReadyError
from testbed.mip6.dhcpv6_client import Client
from testbed.mip6.journal import note
from testbed.netlink import AddressFlag, Netlink, address_add

if TYPE_CHECKING:
    import random

    from testbed.mip6.dhcpv6_client import Lease


class LeaseKeeper:
    """Extends the lease of one interface; a new lease, or none, ends what was done for the old one."""

    def __init__(self, interface: str, rng: random.Random) -> None:
        self._interface = interface
        self._rng = rng
        self._task: asyncio.Task[None] | None = None

    def follow(self, lease: Lease | None) -> None:
        """Keep a lease from now on; None for none."""
        if self._task:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._keep(lease)) if lease else None

    async def _keep(self, lease: Lease) -> None:
        client = Client(self._interface, rng=self._rng)
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(lease.obtained + lease.t1 - loop.time())
            try:
                lease = await self._extended(client, lease)
            except NotReadyError as error:
                note("lease lost", address=lease.addresses[0].address, reason=str(error))
                return
            configure(self._interface, lease)
            note("lease extended", address=lease.addresses[0].address, valid=lease.addresses[0].valid)

    async def _extended(self, client: Client, lease: Lease) -> Lease:
        now = asyncio.get_running_loop().time
        try:
            return await client.renew(lease, deadline=lease.obtained + lease.t2 - now())
        except NotReadyError:
            valid = max(address.valid for address in lease.addresses)
            return await client.rebind(lease, deadline=lease.obtained + valid - now())


def configure(interface: str, lease: Lease, *, optimistic: bool = False) -> None:
    """Give the interface the first leased address, with its lifetimes; the kernel does DAD on a new one."""
    first = lease.addresses[0]
    with Netlink() as netlink:
        device = netlink.link(interface).index
        own = IPv6Interface((first.address, 128))
        flags = AddressFlag.OPTIMISTIC if optimistic else AddressFlag(0)
        lifetimes = {"valid": first.valid, "preferred": first.preferred}
        netlink.apply(address_add(device, own, flags=flags, replace=True, **lifetimes))
