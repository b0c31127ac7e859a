"""A topology as the checks look at it: every look-up gives an answer, also where a name leads nowhere.

A name that is not declared is one problem, and should not make others: a node that names an unknown network
might be on any, one that names an unknown operator might belong to any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.topology.model import IPSEC, Service

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.topology.marks import Marks
    from testbed.topology.model import NetworkKind, Role, Topology


@dataclass(frozen=True)
class Facts:
    """A topology whose parts are valid each for itself, the places of its parts, the folder of its file."""

    topology: Topology
    marks: Marks
    folder: Path

    def operator_of(self, node: str) -> str | None:
        """Return the declared operator who runs a node, if there is one."""
        entry = self.topology.nodes[node]
        name = entry.operator
        if name is None and (network := self.topology.networks.get(entry.networks[0])):
            name = network.operator
        return name if name in self.topology.operators else None

    def operator_known(self, node: str) -> bool:
        """Say whether all names that decide on a node's operator are declared."""
        entry = self.topology.nodes[node]
        name = entry.operator
        if name is None:
            network = self.topology.networks.get(entry.networks[0])
            if network is None:
                return False
            name = network.operator
        return name is None or name in self.topology.operators

    def owner_of(self, domain: str, role: Role) -> str | None:
        """Return the operator of a domain, one that holds the role if there are several."""
        owners = [name for name, entry in self.topology.operators.items() if entry.domain == domain]
        return next((name for name in owners if self.holds(name, role)), owners[0] if owners else None)

    def holds(self, operator: str | None, role: Role) -> bool:
        """Say whether an operator is declared and holds a role."""
        return operator in self.topology.operators and role in self.topology.operators[operator].roles

    def domains(self, role: Role) -> list[str]:
        """Return the domains of the operators that hold a role, in the order of the file."""
        return [self.topology.operators[name].domain for name in self.topology.holders(role)]

    def runs(self, node: str, *services: Service) -> bool:
        """Say whether all these services run on a node."""
        return all(service in self.topology.nodes[node].services for service in services)

    def nodes_of(self, operator: str, service: Service) -> list[str]:
        """Return an operator's nodes that run a service, in the order of the file."""
        return [node for node in self.topology.nodes_with(service) if self.operator_of(node) == operator]

    def lacks(self, operator: str, service: Service) -> bool:
        """Say whether surely no node of an operator runs a service."""
        candidates = self.topology.nodes_with(service)
        return not any(self.operator_of(node) == operator or not self.operator_known(node) for node in candidates)

    def nobody_on(self, network: str, *services: Service) -> bool:
        """Say whether surely no node on a network runs all these services."""
        return not any(
            self.runs(name, *services) and (network in node.networks or not self.networks_known(name))
            for name, node in self.topology.nodes.items()
        )

    @property
    def home_agent_services(self) -> str:
        """What a node that is a home agent runs; without IPsec no strongSwan."""
        return ", ".join((*self.beside_home_agent, Service.HOME_AGENT))

    @property
    def beside_home_agent(self) -> tuple[Service, ...]:
        """What a home agent needs beside itself."""
        charon = (Service.STRONGSWAN,) if self.topology.protection in IPSEC else ()
        return (Service.ROUTER, Service.RADVD, *charon)

    def networks_of_kind(self, kind: NetworkKind) -> list[str]:
        """Return the networks of a kind, in the order of the file."""
        return [name for name, network in self.topology.networks.items() if network.kind is kind]

    def networks_around(self, node: str, kinds: tuple[NetworkKind, ...]) -> list[str]:
        """Return the declared networks of some kinds that a node is on, each once."""
        networks = self.topology.networks
        around = dict.fromkeys(self.topology.nodes[node].networks)
        return [name for name in around if name in networks and networks[name].kind in kinds]

    def networks_known(self, node: str) -> bool:
        """Say whether all networks of a node are declared."""
        return all(name in self.topology.networks for name in self.topology.nodes[node].networks)
