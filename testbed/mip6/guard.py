"""The packet filter of a mobility agent: nothing of Mobile IPv6 in or out except through a security association.

By nftables; where only ip6tables knows IPv6, as in user-mode-linux, the rendered file is ``guard.ip6tables`` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from testbed.process import run

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_BY_IP6TABLES = "guard.ip6tables"
_HOME_AGENT, _MOBILE_NODE = Path("/run/lab/etc/home-agent"), Path("/run/lab/etc/mobile-node")
_BOUND, _AWAY = ("ip6", "mip6_guard", "bound"), ("ip6", "mip6_guard", "away")


async def install(path: str) -> None:
    """Load the guard from a rendered file, or from the one that was rendered in its place.

    Raises:
        ProcessError: the packet filter refuses it.
    """
    instead = Path(path).with_name(_BY_IP6TABLES)
    await run(["ip6tables-legacy-restore", str(instead)] if instead.exists() else ["nft", "--file", path])


async def admit(home_address: IPv6Address) -> None:
    """Let packets from and to a home address through the home agent's tunnel."""
    if _by_ip6tables(_HOME_AGENT):
        await _change(*(f"-I {rule}" for rule in _bound(home_address)))
    else:
        await run(["nft", "add", "element", *_BOUND, "{", str(home_address), "}"])


async def expel(home_address: IPv6Address) -> None:
    """Let packets from and to a home address through no more; one that was not let through is left alone."""
    if _by_ip6tables(_HOME_AGENT):
        await _change(*(f"-D {rule}" for rule in _bound(home_address)), check=False)
    else:
        await run(["nft", "delete", "element", *_BOUND, "{", str(home_address), "}"], check=False)


async def confine(home_address: IPv6Address) -> None:
    """Keep the mobile node from sending with its home address other than through the tunnel, there or not."""
    if _by_ip6tables(_MOBILE_NODE):
        await _change("-F mip6_away", f"-A {_away(home_address)}")
    else:
        await run(["nft", "add", "element", *_AWAY, "{", str(home_address), "}"])


async def let_loose(home_address: IPv6Address) -> None:
    """Undo ``confine``; a home address that was not confined is left alone."""
    if _by_ip6tables(_MOBILE_NODE):
        await _change(f"-D {_away(home_address)}", check=False)
    else:
        await run(["nft", "delete", "element", *_AWAY, "{", str(home_address), "}"], check=False)


def _by_ip6tables(folder: Path) -> bool:
    return (folder / _BY_IP6TABLES).exists()


def _bound(home_address: IPv6Address) -> list[str]:
    return [f"mip6_reverse -s {home_address} -j RETURN", f"mip6_forward -d {home_address} -j RETURN"]


def _away(home_address: IPv6Address) -> str:
    return f'mip6_away -s {home_address} -m comment --comment "home address outside the tunnel" -j DROP'


async def _change(*operations: str, check: bool = True) -> None:
    """Change rules: all as asked for, or none."""
    lines = ["*filter", *operations, "COMMIT", ""]
    await run(["ip6tables-legacy-restore", "--noflush"], stdin="\n".join(lines), check=check)
