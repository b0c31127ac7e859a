"""What a machine can run, with tools and kernels that answer as told."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from samples import wait_for

from testbed import doctor, kernel, process
from testbed.errors import ProcessError
from testbed.topology.model import Protection
from testbed.topology.plan import Esp, Firewall

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSIONS = {
    "radvd": "Version: 2.19\n",
    "kea-dhcp6": "2.2.0\n",
    "named": "BIND 9.18.49-1~deb12u1-Debian (Extended Support Version) <id:>\n",
    "freeradius": "radiusd: FreeRADIUS Version 3.2.1, for host x86_64-pc-linux-gnu\n",
    "charon": "Linux strongSwan 5.9.8\n",
    "ip": "ip utility, iproute2-6.1.0, libbpf 1.1.0\n",
    "nft": "nftables v1.0.6 (Lester Gooch #5)\n",
    "unshare": "unshare from util-linux 2.38.1\n",
    "nsenter": "nsenter from util-linux 2.38.1\n",
    "ping": "ping from iputils 20221126\n",
}


class Machine:
    """A machine whose programs and kernel answer as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.missing_tools: set[str] = set()
        self.missing_features: dict[str, str] = {}
        self.hanging: set[str] = set()
        self.tried: list[tuple[str, ...]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(shutil, "which", self.which)
        monkeypatch.setattr(doctor, "run", self.run)
        monkeypatch.setattr(kernel, "run", self.run)

    def which(self, name: str) -> str | None:
        return None if name.rpartition("/")[2] in self.missing_tools else f"/usr/bin/{name.rpartition('/')[2]}"

    async def run(self, arguments: Sequence[str], **_: Any) -> process.Completed:
        self.tried.append(tuple(arguments))
        tool = arguments[0].rpartition("/")[2]
        if tool in self.hanging:
            raise ProcessError(f"{tool} did not end within 5 s")
        if arguments[0] != "unshare":
            return process.Completed(tuple(arguments), 0, VERSIONS[tool], 0.0)
        assert arguments[1] == "--net"  # nothing is tried in the namespace of the machine
        feature = next(f for f in kernel.FEATURES if f.trial == tuple(arguments[2:]))
        said = self.missing_features.get(feature.name, "")
        return process.Completed(tuple(arguments), int(feature.name in self.missing_features), said, 0.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def examined() -> doctor.Diagnosis:
    return wait_for(doctor.examine())


def test_a_machine_that_has_everything(machine: Machine) -> None:
    found = examined()
    assert found.missing == ()
    assert found.protections[Protection.TUNNEL] == ""
    assert set(found.protections) == set(Protection)
    assert {f.name: f.found for f in found.tools} == {
        "ip": "6.1.0",
        "nft": "1.0.6",
        "unshare": "2.38.1",
        "nsenter": "2.38.1",
        "ping": "/usr/bin/ping",
        "radvd": "2.19",
        "kea-dhcp6": "2.2.0",
        "named": "9.18.49-1~deb12u1-Debian",
        "freeradius": "3.2.1",
        "charon": "5.9.8",
    }
    assert all(f.found == "works" and f.purpose for f in found.features)
    assert len([call for call in machine.tried if call[0] == "unshare"]) == len(kernel.FEATURES)


def test_a_tool_that_is_missing_names_its_package(machine: Machine) -> None:
    machine.missing_tools = {"radvd", "charon"}
    assert examined().missing == ("radvd: install the package radvd", "charon: install the package strongswan-charon")


def test_a_tool_that_hangs(machine: Machine) -> None:
    machine.hanging = {"named"}
    assert examined().missing == ("named: named did not end within 5 s",)


@pytest.mark.parametrize(
    ("lacking", "tunnel"),
    [({}, True), ({"ESP"}, True), ({"tun"}, True), ({"ESP", "tun"}, False)],
)
def test_a_tunnel_needs_esp_or_tun(machine: Machine, lacking: set[str], tunnel: bool) -> None:
    machine.missing_features = dict.fromkeys(lacking, "RTNETLINK answers: Protocol not supported")
    found = examined()
    assert found.missing == ()
    assert (found.protections[Protection.TUNNEL] == "") == tunnel


def test_a_feature_that_every_lab_needs(machine: Machine) -> None:
    machine.missing_features = {"bridge": "first\nError: Unknown device type.", "netem": ""}
    found = examined()
    assert found.missing == ("bridge: Error: Unknown device type.",)
    assert {f.name: f.missing for f in found.features}["netem"] == "it failed"


@pytest.mark.parametrize(
    ("lacking", "firewall", "missing"),
    [
        (set(), Firewall.NFTABLES, ()),
        ({"nftables"}, Firewall.IP6TABLES, ()),
        ({"ip6tables"}, Firewall.NFTABLES, ()),
        ({"nftables", "ip6tables"}, Firewall.NFTABLES, ("nftables: Error: not supported",)),
    ],
)
def test_one_packet_filter_is_enough(
    machine: Machine, lacking: set[str], firewall: Firewall, missing: tuple[str, ...]
) -> None:
    machine.missing_features = dict.fromkeys(lacking, "Error: not supported\nadd table\n^^^")
    assert wait_for(kernel.firewall()) is firewall
    assert examined().missing == missing


def test_a_packet_filter_that_cannot_be_tried_is_taken_for_nftables(machine: Machine) -> None:
    machine.hanging = {"unshare"}
    assert wait_for(kernel.firewall()) is Firewall.NFTABLES


def test_without_root_nothing_is_tried(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = examined()
    assert found.missing[0] == "rights: labs need root: use sudo"
    assert all(f.missing == "not tried: needs root" for f in found.features)
    assert not [call for call in machine.tried if call[:2] == ("unshare", "--net")]


def test_a_trial_that_hangs_is_told(machine: Machine) -> None:
    machine.hanging = {"unshare"}
    found = examined()
    assert all(f.missing == "unshare did not end within 5 s" for f in found.features)


@pytest.mark.parametrize(("lacking", "esp"), [(set(), Esp.KERNEL), ({"ESP"}, Esp.USERLAND)])
def test_who_does_esp(machine: Machine, lacking: set[str], esp: Esp) -> None:
    machine.missing_features = dict.fromkeys(lacking, "no")
    assert wait_for(kernel.esp()) is esp


def test_esp_that_cannot_be_tried_is_left_to_charon(machine: Machine) -> None:
    machine.hanging = {"unshare"}
    assert wait_for(kernel.esp()) is Esp.USERLAND
