"""Load a topology file: every problem in it at once, each with its place and a hint."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Never

from testbed.errors import Problem, TopologyError
from testbed.topology.check import check
from testbed.topology.document import Document, parse
from testbed.topology.read import read
from testbed.topology.shape import validate
from testbed.topology.words import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from testbed.topology.model import Topology

LIMIT = 200  #: problems that are shown; to find the nearest name to each of thousands would take minutes


def load(path: Path) -> Topology:
    """Return the topology that a file describes.

    Raises:
        TopologyError: the file cannot be read, is no YAML, has not the shape of a topology or contradicts
            itself.
    """
    document = parse(read(path))
    if not isinstance(document.data, dict) or not document.data:
        _refuse(path, [*document.problems, *_no_topology(document)])
    topology, problems = validate(document, LIMIT + 1)
    problems = [*document.problems, *problems]
    if topology is None or not document.complete:
        _refuse(path, problems)
    problems.extend(islice(check(topology, document.marks, path.parent), LIMIT + 1))
    if problems:
        _refuse(path, problems)
    return topology


def _no_topology(document: Document) -> list[Problem]:
    """Return the problem of a document that is no mapping, unless another says why."""
    if document.problems:
        return []
    if document.data is None or document.data == {}:
        return [Problem(0, 0, "the file is empty", "topologies/third-party.yaml is a complete example")]
    message = f"a topology is a mapping of keys such as title and networks, found {kind_of(document.data)}"
    return [document.marks.at_value((), message, "topologies/third-party.yaml is a complete example")]


def _refuse(path: Path, problems: Iterable[Problem]) -> Never:
    """Raise problems as one error: each once, and no more than somebody can read."""
    unique = sorted(set(problems))
    if len(unique) > LIMIT:
        unique = [Problem(0, 0, f"more than {LIMIT} problems; here are some of them"), *unique[:LIMIT]]
    raise TopologyError(str(path), tuple(unique))
