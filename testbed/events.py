"""What the core tells whoever listens; it prints nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened.

    ``source`` is a node, a daemon (``node/daemon``) or a phase; ``seconds`` how long it took, if it took time;
    ``waiting`` the share of it, in seconds, that a protocol imposes.
    """

    kind: str
    source: str
    text: str
    seconds: float | None = None
    waiting: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
