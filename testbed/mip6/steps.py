"""The steps of a bootstrap, each timed and told as it ends."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from testbed.errors import BootstrapError, TestbedError
from testbed.mip6.journal import note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Name(StrEnum):
    """The steps, in order."""

    ATTACH = "attach"
    ROUTER = "router"
    CARE_OF = "care-of address"
    DISCOVERY = "discovery"
    IKE = "ike"
    HOME_ADDRESS = "home address"
    TUNNEL = "tunnel"
    REGISTRATION = "registration"
    MOBIKE = "mobike"
    DEREGISTRATION = "deregistration"


@dataclass
class Step:
    """A step under way: what it found, and how long of it a protocol made it wait, in seconds."""

    text: str = ""
    waiting: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class Steps:
    """Times the steps of one bootstrap and tells each to a listener."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._began = time.monotonic()
        self.waiting = 0.0

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self._began

    @asynccontextmanager
    async def step(self, name: Name) -> AsyncIterator[Step]:
        """Time a step.

        Raises:
            BootstrapError: it failed; names the step and carries the evidence.
        """
        step, began = Step(), time.monotonic()
        try:
            yield step
        except TestbedError as error:
            note("step failed", step=name, reason=str(error), evidence=error.evidence)
            raise BootstrapError(str(error), step=name, hint=error.hint, evidence=error.evidence) from error
        seconds = time.monotonic() - began
        self.waiting += step.waiting
        told = {
            "step": name,
            "text": step.text,
            "seconds": round(seconds, 6),
            "waiting": round(step.waiting, 6),
        }
        note("step", **told, **step.facts)
        self._send({**told, "facts": {key: str(value) for key, value in step.facts.items()}})
