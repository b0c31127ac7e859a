"""Waiting for a condition, with a deadline and with what was seen last; nothing here sleeps for a guessed time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from testbed.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_FIRST_PAUSE = 0.002  # seconds; most conditions hold within a few milliseconds
_LONGEST_PAUSE = 0.05


class Unmet(Exception):  # noqa: N818  not a failure: the condition does not hold yet
    """A condition does not hold yet; its text is what was seen."""


async def wait_until(condition: Callable[[], _T], *, deadline: float, what: str, where: str = "") -> _T:
    """Ask a condition until it holds.

    Args:
        condition: returns its evidence, or raises ``Unmet`` with what it saw.
        deadline: seconds.
        what: the condition in words, for the message: "named answers".
        where: the node or daemon.

    Raises:
        NotReadyError: the deadline passed; carries what was seen last.
    """
    end = time.monotonic() + deadline
    pause = _FIRST_PAUSE
    while True:
        try:
            return condition()
        except Unmet as unmet:
            if time.monotonic() >= end:
                seen = (str(unmet),) if str(unmet) else ()
                raise NotReadyError(f"not within {deadline:g} s: {what}", where=where, evidence=seen) from unmet
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
