"""What an agent tells: a JSON object a line on its standard output, which is its log, with the time of day."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def note(event: str, **facts: Any) -> None:
    """Write a line: the event and its facts, addresses as text."""
    line = {"time": round(time.time(), 6), "event": event, **facts}
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
