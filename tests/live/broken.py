"""Run ``testbed`` with a fault injected: ``python broken.py FAULT COMMAND ...``."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from testbed import cli, kernel, lab
from testbed.daemons import catalogue
from testbed.netlink import in_namespace
from testbed.render.render import File
from testbed.runtime import fabric
from testbed.topology.model import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from testbed.daemons.base import Daemon


def daemon_dies() -> None:
    """radvd ends at once."""
    _replace(Service.RADVD, command=("false",))


def daemon_dies_talking() -> None:
    """The home agent ends with a message."""
    _replace(Service.HOME_AGENT, command=("sh", "-c", "echo my last words; exit 3"))


def daemon_hangs() -> None:
    """Kea never becomes ready."""
    _replace(Service.KEA, command=("sleep", "infinity"), deadline=0.3)


def port_taken() -> None:
    """Somebody has RADIUS's port on aaa1 already."""
    original = _original(lab, "start_all")

    async def start_all(plan: Any, rooms: Any, listener: Any) -> Any:
        with in_namespace(rooms["aaa1"].init.pid):
            squatter = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with squatter:
            squatter.bind(("::", 1812))
            return await original(plan, rooms, listener)

    _patch(lab, "start_all", start_all)


def checker_refuses() -> None:
    """named's configuration is broken."""
    _rewrite(lambda _, file: _appended(file, "nonsense;\n") if file.path == "bind/named.conf" else file)


def guard_refused() -> None:
    """The home agent's guard is broken."""
    _rewrite(lambda _, file: _appended(file, "add nonsense\n") if file.path == "home-agent/guard.nft" else file)


def wrong_name() -> None:
    """mn2 expects another server than the one that it talks to."""

    def change(node: str, file: File) -> File:
        if node != "mn2" or file.path != "mobile-node/mobile-node.json":
            return file
        seed = '"discovery": {"method": "configured", "name": "ha9.carrier.example", "address": "2001:db8:7::1"}'
        start = file.content.index('"discovery"')
        return File(file.path, file.content[:start] + seed + file.content[file.content.index("}", start) + 1 :])

    _rewrite(change)


def as_nobody() -> None:
    """Not root, who may yet be the only one that can read the project."""
    for name in cli.COMMANDS:
        import_module(f"testbed.cli.{name}_command")
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def no_feature() -> None:
    """The kernel can do nothing that is tried."""

    async def has(_feature: object) -> str:
        return "Operation not supported"

    _patch(kernel, "has", has)


def no_bridge() -> None:
    """The kernel has no bridges: it knows no link of that kind."""
    original = _original(fabric, "link_add_bridge")

    def link_add_bridge(*arguments: Any, **settings: Any) -> Any:
        request = original(*arguments, **settings)
        return replace(request, body=request.body.replace(b"bridge", b"brigde"))

    _patch(fabric, "link_add_bridge", link_add_bridge)


def _original(module: ModuleType, name: str) -> Any:
    return vars(module)[name]


def _patch(module: ModuleType, name: str, value: object) -> None:
    vars(module)[name] = value


def _replace(service: Service, **changes: Any) -> None:
    daemons: dict[Service, Daemon] = catalogue._DAEMONS
    daemons[service] = replace(daemons[service], **changes)


def _rewrite(change: Callable[[str, File], File]) -> None:
    original = _original(lab, "render")

    def render(plan: Any) -> Any:
        return {node: tuple(change(node, file) for file in files) for node, files in original(plan).items()}

    _patch(lab, "render", render)


def _appended(file: File, text: str) -> File:
    return File(file.path, file.content + text)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    cli.main(sys.argv[2:])
