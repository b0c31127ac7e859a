"""The state of a running lab: nodes, daemons, and each binding as both of its ends see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from testbed.bootstrap import agent_socket
from testbed.errors import TestbedError
from testbed.mip6.control import result_of
from testbed.netlink import Netlink
from testbed.topology.model import Protection, Service

if TYPE_CHECKING:
    from testbed.lab import Lab


_PATIENCE = 3.0  # seconds: an agent that runs answers at once


@dataclass(frozen=True)
class NodeStatus:
    """A node: whether it and its daemons run, and its addresses of more than link scope."""

    name: str
    operator: str | None
    alive: bool
    addresses: tuple[str, ...]
    daemons: dict[str, bool]


@dataclass(frozen=True)
class BindingStatus:
    """A mobile node's registration as it sees it; ``disagreement`` says what the home agent sees otherwise.

    ``protection`` is the topology's.
    """

    node: str
    state: str
    home_address: str | None
    care_of_address: str | None
    home_agent: str | None
    remaining: float | None
    disagreement: str
    protection: str = Protection.TUNNEL

    @property
    def told(self) -> str:
        """The state, and that nothing protects it if so."""
        unprotected = self.protection == Protection.NONE and self.state == "registered"
        return f"{self.state}, unprotected" if unprotected else self.state


@dataclass(frozen=True)
class Status:
    """The state of a lab."""

    nodes: tuple[NodeStatus, ...]
    bindings: tuple[BindingStatus, ...]

    @property
    def sound(self) -> bool:
        """Whether everything runs and both ends of each binding agree."""
        running = all(node.alive and all(node.daemons.values()) for node in self.nodes)
        return running and not any(binding.disagreement for binding in self.bindings)

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**asdict(self), "sound": self.sound}


async def status(lab: Lab) -> Status:
    """Find out the state of a lab."""
    nodes = tuple(_node(lab, name) for name in lab.plan.hosts)
    known: dict[str, dict[str, Any]] = {}
    for host in lab.plan.hosts_with(Service.HOME_AGENT):
        try:
            told = await _ask(lab, host.name)
        except TestbedError:
            continue  # shown as a dead daemon
        known |= {entry["home_address"]: entry for entry in told["bindings"]}
    return Status(nodes, tuple([await _binding(lab, name, known) for name in lab.saved.topology.mobile_nodes]))


def _node(lab: Lab, name: str) -> NodeStatus:
    room, host = lab.rooms[name], lab.plan.hosts[name]
    daemons = {entry.daemon: entry.process.alive for entry in lab.saved.running if entry.node == name}
    if not room.init.alive:
        return NodeStatus(name, host.operator, alive=False, addresses=(), daemons=daemons)
    with Netlink(room.init.pid, node=name) as netlink:
        addresses = [entry.interface.ip for entry in netlink.addresses()]
    shown = tuple(str(a) for a in addresses if not (a.is_link_local or a.is_loopback))
    return NodeStatus(name, host.operator, alive=True, addresses=shown, daemons=daemons)


async def _binding(lab: Lab, node: str, known: dict[str, dict[str, Any]]) -> BindingStatus:
    try:
        told = await _ask(lab, node)
    except TestbedError as error:
        return BindingStatus(node, "unknown", None, None, None, None, error.message)
    entry = known.get(told["home_address"])
    return BindingStatus(
        node,
        told["state"],
        told["home_address"],
        told["care_of_address"],
        told["home_agent"],
        told["remaining"],
        _disagreement(told, entry),
        lab.saved.topology.protection,
    )


def _disagreement(mobile: dict[str, Any], agent: dict[str, Any] | None) -> str:
    registered = mobile["state"] == "registered"
    if agent is None:
        return "no binding" if registered else ""
    if not registered:
        return f"bound to {agent['care_of_address']}"
    if agent["care_of_address"] != mobile["care_of_address"]:
        return f"bound to {agent['care_of_address']}"
    if agent["sequence"] != mobile["sequence"]:
        return f"sequence number {agent['sequence']}"
    return ""


async def _ask(lab: Lab, node: str) -> dict[str, Any]:
    return await result_of(agent_socket(lab.room(node)), {"op": "status"}, where=node, patience=_PATIENCE)
