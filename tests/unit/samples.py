"""Topologies and plans that several tests start from."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from testbed.lab import Saved
from testbed.render.render import render
from testbed.runtime.base import FABRIC, Inhabitant
from testbed.topology.check import check
from testbed.topology.document import parse
from testbed.topology.load import load
from testbed.topology.plan import Esp, Plan, make_plan
from testbed.topology.shape import validate
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from testbed.daemons.start import Running
    from testbed.topology.model import Topology


class Readable(Protocol):
    """A configuration of an agent."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from JSON."""


_T = TypeVar("_T")
_C = TypeVar("_C", bound=Readable)
ROOT = Path(__file__).parents[2]
THIRD_PARTY = ROOT / "topologies" / "third-party.yaml"
US = Inhabitant.of(os.getpid())
DEADLINE = 20.0  #: seconds for whatever a test awaits, on a machine that does other things too


def third_party(esp: Esp = Esp.USERLAND) -> Plan:
    return make_plan(load(THIRD_PARTY), {}, esp)


def noted(*running: Running) -> Saved:
    """Make what is noted of a running lab of the third-party scenario, whose nodes are this very process."""
    plan, rooms = third_party(), dict.fromkeys((FABRIC, *third_party().hosts), US)
    return Saved(
        topology=plan.topology, passwords={}, esp=plan.esp, firewall=plan.firewall, rooms=rooms, running=running
    )


def configured(configuration: type[_C], node: str, path: str) -> _C:
    """Read what is rendered for an agent of the third-party scenario, as the agent does."""
    content = next(file.content for file in render(third_party())[node] if file.path == path)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(content)
        file.flush()
        return configuration.read(Path(file.name))


def checked(document: dict[str, Any]) -> Topology:
    """Make a topology that has to be valid out of plain data."""
    parsed = parse(json.dumps(document))
    topology, problems = validate(parsed, 10)
    assert topology is not None, problems
    assert not [*problems, *check(topology, parsed.marks, ROOT)]
    return topology


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a test that can be repeated


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""

    def asked() -> None:
        if not condition():
            raise Unmet

    await wait_until(asked, deadline=DEADLINE, what="what the test waits for")


def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end in an event loop of its own; one that hangs fails."""

    async def bounded() -> _T:
        async with asyncio.timeout(DEADLINE):
            return await coroutine

    return asyncio.run(bounded())
