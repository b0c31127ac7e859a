"""Having mobile nodes bootstrap in a running lab, and seeing their traffic pass the home agent both ways."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

from testbed.daemons.catalogue import daemons_of
from testbed.daemons.start import log_tail
from testbed.errors import BootstrapError, LabError, ProcessError
from testbed.events import Event, Listener
from testbed.mip6.control import ask
from testbed.process import run
from testbed.topology.model import Service

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from testbed.lab import Lab
    from testbed.runtime.base import Room

_TRAFFIC = "traffic"
_LOG_LINES = 8
#: whose logs tell why a step failed, by service; the mobile node's own are always shown
_WITNESSES = {
    "attach": (),
    "router": (Service.RADVD,),
    "care-of address": (Service.RADVD, Service.KEA),
    "discovery": (Service.BIND,),
    "ike": (Service.STRONGSWAN, Service.FREERADIUS),
    "home address": (Service.STRONGSWAN, Service.FREERADIUS),
    "tunnel": (Service.STRONGSWAN,),
    "registration": (Service.HOME_AGENT, Service.FREERADIUS),
    _TRAFFIC: (Service.HOME_AGENT,),
}


@dataclass(frozen=True)
class Bootstrapped:
    """What a mobile node has after it bootstrapped; ``seconds`` it took, ``waiting`` of them imposed by protocols."""

    node: str
    home_agent: str
    home_agent_address: str
    home_address: str
    care_of_address: str
    seconds: float
    waiting: float


async def bootstrap(lab: Lab, nodes: Sequence[str], listener: Listener) -> list[Bootstrapped]:
    """Bootstrap mobile nodes, all at the same time, then send traffic between each and the correspondents.

    Raises:
        BootstrapError: one failed; names the step, carries its evidence and the logs of those who took part.
        LabError: one is no mobile node.
    """
    chosen = list(dict.fromkeys(nodes or mobile_nodes(lab)))  # one that is named twice bootstraps once
    for node in chosen:
        mobile_room(lab, node)
    outcomes = await asyncio.gather(*(_one(lab, node, listener) for node in chosen), return_exceptions=True)
    done = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done


def mobile_nodes(lab: Lab) -> list[str]:
    """Return the names of the lab's mobile nodes."""
    return list(lab.saved.topology.mobile_nodes)


def mobile_room(lab: Lab, node: str) -> Room:
    """Return a mobile node's room.

    Raises:
        LabError: there is no such node, or it is no mobile node.
    """
    room = lab.room(node)
    if node not in mobile_nodes(lab):
        raise LabError(f"{node} is no mobile node", hint=f"mobile nodes: {', '.join(mobile_nodes(lab))}")
    return room


def agent_socket(room: Room) -> Path:
    """Return the path of the control socket of the mobility agent in a node."""
    for agent in ("mobile-node", "home-agent"):
        path = room.lab / "var" / agent / "control"
        if path.exists():
            return path
    raise LabError("no mobility agent runs there", where=room.name)


async def _one(lab: Lab, node: str, listener: Listener) -> Bootstrapped:
    room = lab.room(node)
    result: dict[str, Any] = {}
    try:
        async with contextlib.aclosing(ask(agent_socket(room), {"op": "bootstrap"}, where=node)) as answers:
            async for answer in answers:
                if told := answer.get("event"):
                    listener(step_event(node, told))
                result = answer.get("result", result)
        await traffic(lab, node, result["home_address"], listener)
    except BootstrapError as error:
        raise BootstrapError(
            error.message,
            step=error.step,
            where=node,
            hint=error.hint,
            evidence=(*error.evidence, *_logs(lab, node, error.step)),
        ) from error
    return Bootstrapped(
        node=node,
        home_agent=result["home_agent_name"],
        home_agent_address=result["home_agent"],
        home_address=result["home_address"],
        care_of_address=result["care_of_address"],
        seconds=result["seconds"],
        waiting=result["waiting"],
    )


def step_event(node: str, told: dict[str, Any]) -> Event:
    """Return what to tell of a step that a mobile node's agent reports."""
    return Event("step", node, f"{told['step']}: {told['text']}", told["seconds"], told["waiting"], told)


async def traffic(lab: Lab, node: str, home_address: str, listener: Listener) -> None:
    """See that packets pass between each correspondent and a home address, in both directions.

    Raises:
        BootstrapError: they do not.
    """
    mobile, home = lab.room(node), IPv6Address(home_address)
    for host in lab.plan.hosts_with(Service.CORRESPONDENT):
        there = await _ping(mobile, host.address, source=home)
        back = await _ping(lab.room(host.name), home)
        text = f"{home} -> {host.name} {there:.2f} ms, {host.name} -> {home} {back:.2f} ms"
        detail = {"step": _TRAFFIC, "correspondent": host.name, "there_ms": there, "back_ms": back}
        listener(Event("step", mobile.name, f"{_TRAFFIC}: {text}", None, 0.0, detail))


async def _ping(room: Room, destination: IPv6Address, *, source: IPv6Address | None = None) -> float:
    """Send an echo request and return the round trip in milliseconds."""
    of_source = ["-I", str(source)] if source else []
    command = room.command(["ping", "-6", "-n", "-c", "1", "-w", "5", *of_source, str(destination)])
    try:
        done = await run(command, where=room.name)
    except ProcessError as error:
        raise BootstrapError(
            f"no echo reply from {destination} to {source or room.name}",
            step=_TRAFFIC,
            where=room.name,
            evidence=error.evidence,
        ) from error
    found = re.search(r"time=([0-9.]+) ms", done.output)
    return float(found[1]) if found else 0.0


def _logs(lab: Lab, node: str, step: str) -> list[str]:
    """Return the ends of the logs of those who took part in a step."""
    witnesses = _WITNESSES.get(step, ())
    lines: list[str] = []
    for host in lab.plan.hosts.values():
        for daemon in daemons_of(host):
            if host.name == node or daemon.name in witnesses:
                tail = log_tail(daemon.log(lab.rooms[host.name]), _LOG_LINES)
                lines += [f"{host.name}/{daemon.name}: {line}" for line in tail]
    return lines
