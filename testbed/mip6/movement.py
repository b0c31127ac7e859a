"""Noticing that a mobile node was plugged into another network (RFC 6275 section 11.5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.netlink import Link, Netlink, Overrun, Present, Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def carrier_returns(interface: str) -> AsyncIterator[None]:
    """Give a sign each time that the interface has its carrier back: it may be at another network then."""
    with Watcher() as watcher:
        with Netlink() as netlink:
            link = netlink.link(interface)
        device, there = link.index, link.carrier
        async for event in watcher:
            match event:
                case Present(Link(index=index, carrier=carrier)) if index == device:
                    if carrier and not there:
                        yield
                    there = carrier
                case Overrun():
                    yield  # it may have been among what was lost
