"""What this machine can run: tools, rights and kernel features, each tried, and what follows for protections."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass

from testbed import kernel
from testbed.daemons.catalogue import EVERY_DAEMON
from testbed.errors import TestbedError
from testbed.process import run
from testbed.topology.model import Protection

_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ping": "iputils-ping",
}
_VERSION_OPTIONS = {
    "radvd": "--version",
    "kea-dhcp6": "-v",
    "named": "-v",
    "freeradius": "-v",
    "/usr/lib/ipsec/charon": "--version",
    "ip": "-V",
    "nft": "--version",
    "unshare": "--version",
    "nsenter": "--version",
    "ping": "-V",
}
_CLEAR = ("nftables", "seg6", "nft ingress")  # by the protections without IPsec
_UNTRIED = "not tried: needs root"
_NOT_YET = {Protection.TRANSPORT: "this version of the testbed does not implement it"}
_NEEDED = ("veth", "bridge")  # by every lab, and one of the next
_FIREWALLS = (kernel.NFTABLES.name, kernel.IP6TABLES.name)


@dataclass(frozen=True)
class Finding:
    """Something that was looked at; ``missing`` is empty if it is there."""

    name: str
    found: str
    missing: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings; ``protections`` maps each to what is missing for it, the empty string if nothing is."""

    machine: tuple[Finding, ...]
    tools: tuple[Finding, ...]
    features: tuple[Finding, ...]
    protections: dict[Protection, str]

    @property
    def missing(self) -> tuple[str, ...]:
        """What every lab needs and this machine lacks."""
        firewalls = [f for f in self.features if f.name in _FIREWALLS]
        features = [f for f in self.features if f.name in _NEEDED]
        if all(f.missing for f in firewalls):
            features += firewalls[:1]
        return tuple(f"{f.name}: {f.missing}" for f in (*self.machine, *self.tools, *features) if f.missing)


async def examine() -> Diagnosis:
    """Look at the machine."""
    tools = [await _tool(name, package) for name, package in _TOOLS.items()]
    tools += [await _tool(daemon.command[0], daemon.package) for daemon in EVERY_DAEMON if daemon.package]
    root = os.geteuid() == 0
    features = tuple([await _feature(feature, root=root) for feature in kernel.FEATURES])
    rights = Finding("rights", f"user id {os.geteuid()}", "" if root else "labs need root: use sudo")
    system = Finding("kernel", f"{platform.system()} {platform.release()}, {platform.machine()}")
    python = Finding("python", platform.python_version())
    return Diagnosis((system, python, rights), tuple(tools), features, _protections(features))


def _protections(features: tuple[Finding, ...]) -> dict[Protection, str]:
    lacking = {feature.name: feature.missing for feature in features}
    if _UNTRIED in lacking.values():
        return {protection: _NOT_YET.get(protection, _UNTRIED) for protection in Protection}
    kernel_esp = not lacking["ESP"]
    tunnel = "" if kernel_esp or not lacking["tun"] else "neither ESP nor TUN in the kernel"
    absent = [name for name in _CLEAR if lacking[name]]
    clear = f"the kernel lacks {' and '.join(absent)}" if absent else ""
    return {
        Protection.TUNNEL: tunnel,
        Protection.TRANSPORT: _NOT_YET[Protection.TRANSPORT],
        Protection.AUTH_OPTION: clear,
        Protection.NONE: clear,
    }


async def _tool(name: str, package: str) -> Finding:
    path = shutil.which(name)
    label = name.rpartition("/")[2]
    if path is None:
        return Finding(label, "", f"install the package {package}")
    try:
        done = await run([path, _VERSION_OPTIONS.get(name, "--version")], check=False, deadline=5)
    except TestbedError as error:
        return Finding(label, path, error.message)
    version = re.search(r"\d+(\.\d+)+[\w.+~-]*", done.output)
    return Finding(label, version[0] if version else path)


async def _feature(feature: kernel.Feature, *, root: bool) -> Finding:
    if not root:
        return Finding(feature.name, "", _UNTRIED, feature.purpose)
    try:
        said = await kernel.has(feature)
    except TestbedError as error:
        said = error.message
    return Finding(feature.name, "" if said else "works", said, feature.purpose)
