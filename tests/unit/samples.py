"""Topologies and plans that several tests start from."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from testbed.topology.check import check
from testbed.topology.document import parse
from testbed.topology.load import load
from testbed.topology.plan import Esp, Plan, make_plan
from testbed.topology.shape import validate
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from testbed.topology.model import Topology

_T = TypeVar("_T")
ROOT = Path(__file__).parents[2]
THIRD_PARTY = ROOT / "topologies" / "third-party.yaml"
DEADLINE = 20.0  #: seconds for whatever a test awaits, on a machine that does other things too


def third_party(esp: Esp = Esp.USERLAND) -> Plan:
    return make_plan(load(THIRD_PARTY), {}, esp)


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
