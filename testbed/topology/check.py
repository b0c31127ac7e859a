"""Check what one part of a topology says of another."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from testbed.topology.checks.facts import Facts
from testbed.topology.checks.hostnames import hostnames
from testbed.topology.checks.mobile_nodes import mobile_nodes
from testbed.topology.checks.names import names
from testbed.topology.checks.networks import networks
from testbed.topology.checks.nodes import nodes
from testbed.topology.checks.operators import operators

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.errors import Problem
    from testbed.topology.marks import Marks
    from testbed.topology.model import Topology


def check(topology: Topology, marks: Marks, folder: Path) -> Iterator[Problem]:
    """Give every problem of a topology whose parts are valid each for itself.

    Args:
        topology: what the file says.
        marks: where each part of it stands.
        folder: where the file is, and the password files that it names.
    """
    facts = Facts(topology, marks, folder)
    return chain(names(facts), operators(facts), networks(facts), nodes(facts), mobile_nodes(facts), hostnames(facts))
