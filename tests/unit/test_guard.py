"""What the guards ask of nftables, and of ip6tables where that has to do."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
from samples import wait_for

from testbed.daemons.agents import HOME_AGENT, MOBILE_NODE
from testbed.daemons.radvd import RADVD
from testbed.mip6 import guard
from testbed.process import Completed
from testbed.topology.plan import Firewall

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOME = IPv6Address("2001:db8:b::1001")


class Filter:
    """The packet filter of a node: what it was asked, by command and input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, ip6tables: bool) -> None:
        self.asked: list[tuple[str, str, bool]] = []
        self.file = folder / ("guard.ip6tables" if ip6tables else "guard.nft")
        self.file.touch()
        monkeypatch.setattr(guard, "run", self.run)
        monkeypatch.setattr(guard, "_HOME_AGENT", folder)
        monkeypatch.setattr(guard, "_MOBILE_NODE", folder)

    async def run(self, arguments: Sequence[str], *, stdin: str = "", check: bool = True, **_: Any) -> Completed:
        self.asked.append((" ".join(arguments), stdin, check))
        return Completed(tuple(arguments), 0, "", 0.0)


def test_nftables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Filter(monkeypatch, tmp_path, ip6tables=False)
    wait_for(guard.install(str(tmp_path / "guard.nft")))
    for change in (guard.admit, guard.expel, guard.confine, guard.let_loose):
        wait_for(change(HOME))
    assert found.asked == [
        (f"nft --file {found.file}", "", True),
        (f"nft add element ip6 mip6_guard bound {{ {HOME} }}", "", True),
        (f"nft delete element ip6 mip6_guard bound {{ {HOME} }}", "", False),
        (f"nft add element ip6 mip6_guard away {{ {HOME} }}", "", True),
        (f"nft delete element ip6 mip6_guard away {{ {HOME} }}", "", False),
    ]


def test_ip6tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Filter(monkeypatch, tmp_path, ip6tables=True)
    wait_for(guard.install(str(tmp_path / "guard.nft")))
    assert found.asked == [(f"ip6tables-legacy-restore {found.file}", "", True)]
    away = f'mip6_away -s {HOME} -m comment --comment "home address outside the tunnel" -j DROP'
    for change, check, lines in (
        (guard.admit, True, (f"-I mip6_reverse -s {HOME} -j RETURN", f"-I mip6_forward -d {HOME} -j RETURN")),
        (guard.expel, False, (f"-D mip6_reverse -s {HOME} -j RETURN", f"-D mip6_forward -d {HOME} -j RETURN")),
        (guard.confine, True, ("-F mip6_away", f"-A {away}")),
        (guard.let_loose, False, (f"-D {away}",)),
    ):
        found.asked.clear()
        wait_for(change(HOME))
        stdin = "\n".join(("*filter", *lines, "COMMIT", ""))
        assert found.asked == [("ip6tables-legacy-restore --noflush", stdin, check)]


@pytest.mark.parametrize("agent", [HOME_AGENT, MOBILE_NODE])
def test_the_checker_is_that_of_the_packet_filter(agent: Any) -> None:
    assert agent.checker(Firewall.NFTABLES)[0] == "nft"
    assert agent.checker(Firewall.IP6TABLES)[0] == "ip6tables-legacy-restore"
    for firewall in Firewall:
        assert RADVD.checker(firewall) == RADVD.check
