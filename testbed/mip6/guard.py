"""The packet filter of a mobility agent: nothing of Mobile IPv6 in or out except through a security association."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.process import run

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_SET = ("ip6", "mip6_guard", "bound")


async def install(path: str) -> None:
    """Load the guard from a rendered file.

    Raises:
        ProcessError: nftables refuses it.
    """
    await run(["nft", "--file", path])


async def admit(home_address: IPv6Address) -> None:
    """Let packets from and to a home address through the tunnel."""
    await run(["nft", "add", "element", *_SET, "{", str(home_address), "}"])


async def expel(home_address: IPv6Address) -> None:
    """Let packets from and to a home address through no more; one that was not let through is left alone."""
    await run(["nft", "delete", "element", *_SET, "{", str(home_address), "}"], check=False)
