"""Having a home agent of a running lab do something of its own accord: hand over, refresh or revoke a binding."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from testbed.bootstrap import agent_socket, mobile_room
from testbed.errors import LabError
from testbed.mip6.control import result_of
from testbed.topology.model import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.lab import Lab
    from testbed.topology.plan import Host


class What(StrEnum):
    """What a home agent can be made to do."""

    SWITCH = "switch"  #: send the mobile node to another home agent (RFC 5142)
    REFRESH = "refresh"  #: ask it for a Binding Update (RFC 6275 section 6.1.2)
    REVOKE = "revoke"  #: end its binding (RFC 5846)


async def trigger(lab: Lab, home_agent: str, what: What, node: str, to: Sequence[str] | None) -> str:
    """Have a home agent do something to the binding of a mobile node, and return what came of it.

    Args:
        lab: the lab.
        home_agent: the node that runs the home agent.
        what: what it is to do.
        node: the mobile node.
        to: to which home agents to switch, in this order; None for the others on the home link.

    Raises:
        LabError: there is no such home agent or mobile node, or there is no binding.
    """
    agent = _home_agent(lab, home_agent)
    mobile_room(lab, node)
    socket = agent_socket(lab.room(agent.name))
    told = await result_of(socket, {"op": "status"}, where=home_agent)
    subscriber = lab.plan.subscribers[node]
    bound = [entry["home_address"] for entry in told["bindings"] if entry["identity"] == subscriber.nai]
    if not bound:
        raise LabError(f"{node} has no binding at {home_agent}", hint=f"testbed status --lab {lab.name}")
    request: dict[str, Any] = {"op": what.value, "home_address": bound[0]}
    if to is not None:
        request["to"] = [str(lab.plan.home_agent_address(_home_agent(lab, other))) for other in to]
    return str((await result_of(socket, request, where=home_agent))["outcome"])


def _home_agent(lab: Lab, name: str) -> Host:
    lab.room(name)
    host = lab.plan.hosts.get(name)
    if host is None or Service.HOME_AGENT not in host.services:
        known = ", ".join(host.name for host in lab.plan.hosts_with(Service.HOME_AGENT))
        raise LabError(f"{name} is no home agent", hint=f"home agents: {known}")
    return host
