"""Moving a mobile node of a running lab to another network, and taking it off its home agent."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from testbed.bootstrap import agent_socket, mobile_room, step_event, traffic
from testbed.errors import LabError
from testbed.mip6.control import ask, result_of
from testbed.runtime import fabric
from testbed.runtime.base import FABRIC
from testbed.topology.model import NetworkKind

if TYPE_CHECKING:
    from testbed.events import Listener
    from testbed.lab import Lab


@dataclass(frozen=True)
class Moved:
    """Where a mobile node is after a move; ``seconds`` until it was registered there, ``waiting`` of them imposed."""

    node: str
    network: str
    home_address: str
    care_of_address: str
    at_home: bool
    seconds: float
    waiting: float


async def move(lab: Lab, node: str, network: str, listener: Listener) -> Moved:
    """Plug a mobile node into another network and follow its handover to the end.

    Raises:
        LabError: there is no such mobile node or network, or it is no network for mobile nodes.
        TestbedError: the handover failed; says at which step.
    """
    room = mobile_room(lab, node)
    suitable = [n for n, w in lab.plan.wires.items() if w.network.kind is not NetworkKind.TRANSIT]
    if network not in suitable:
        known = "a mobile node cannot attach to" if network in lab.plan.wires else "there is no network"
        raise LabError(f"{known} {network!r}", hint=f"networks for mobile nodes: {', '.join(suitable)}")
    leg = lab.plan.hosts[node].legs[0]
    result: dict[str, Any] = {}
    async with contextlib.aclosing(ask(agent_socket(room), {"op": "next-handover"}, where=node)) as answers:
        async for answer in answers:
            told = answer.get("event", {})
            if told.get("watching"):
                await fabric.move(lab.plan, lab.room(FABRIC), room, leg, network)
            elif told:
                listener(step_event(node, told))
            result = answer.get("result", result)
    if result["home_address"]:
        await traffic(lab, node, result["home_address"], listener)
    return Moved(
        node=node,
        network=network,
        home_address=result["home_address"],
        care_of_address=result["care_of_address"],
        at_home=result["at_home"],
        seconds=result["seconds"],
        waiting=result["waiting"],
    )


async def deregister(lab: Lab, node: str) -> str:
    """Have a mobile node delete its binding, and return the home address that it gave up.

    Raises:
        LabError: there is no such mobile node, or it is not registered.
    """
    result = await result_of(agent_socket(mobile_room(lab, node)), {"op": "deregister"}, where=node)
    return str(result["home_address"])
