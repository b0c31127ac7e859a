"""What a person sees: events as plain lines as they happen, tables, errors."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from testbed.errors import BootstrapError, TestbedError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testbed.events import Event

_MILLISECONDS = 1000
_SOURCE_WIDTH = 18


class Console:
    """Prints for a person, or with ``as_json`` events on standard error and one document at the end."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def event(self, event: Event) -> None:
        """Tell an event."""
        if self._as_json:
            self._err.write(json.dumps(asdict(event), default=str) + "\n")
            return
        took = "" if event.seconds is None else f"{event.seconds * _MILLISECONDS:8.1f} ms"
        wait = f" ({event.waiting * _MILLISECONDS:.0f} ms of it imposed)" if event.waiting > 0 else ""
        text = event.text if event.kind != "daemon" else "ready"
        self._out.write(f"  {event.source:{_SOURCE_WIDTH}} {took:>11}  {text}{wait}\n")
        self._out.flush()

    def heading(self, text: str) -> None:
        """Print a heading; nothing as JSON."""
        self.text(f"{text}\n")

    def text(self, text: str) -> None:
        """Print text for a person; nothing as JSON."""
        if not self._as_json:
            self._out.write(text)
            self._out.flush()

    def result(self, document: Any) -> None:
        """Print a result as JSON, if that is wanted."""
        if self._as_json:
            json.dump(document, self._out, indent=2, default=str)
            self._out.write("\n")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; one whose header is empty has no line for it."""
        lines = [tuple(str(cell) for cell in row) for row in (header, *rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for line in lines if any(header) else lines[1:]:
            self.text("  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n")

    def interrupted(self) -> None:
        """Tell that the user ended it."""
        self._err.write("interrupted; what was being made is removed\n")

    def error(self, error: TestbedError) -> None:
        """Print an error: one message, the evidence, the hint."""
        if self._as_json:
            json.dump({"error": _described(error)}, self._out, indent=2, default=str)
            self._out.write("\n")
            return
        if isinstance(error, TopologyError):
            self._err.write("\n".join(error.lines()) + "\n")
            return
        step = f" at step {error.step!r}" if isinstance(error, BootstrapError) else ""
        where = f"{error.where}{step}: " if error.where else ""
        self._err.write(f"error: {where}{error.message}\n")
        for line in error.evidence:
            self._err.write(f"    {line}\n")
        if error.hint:
            self._err.write(f"hint: {error.hint}\n")


def _described(error: TestbedError) -> dict[str, Any]:
    described: dict[str, Any] = {
        "message": error.message,
        "where": error.where,
        "hint": error.hint,
        "evidence": list(error.evidence),
    }
    if isinstance(error, BootstrapError):
        described["step"] = error.step
    if isinstance(error, TopologyError):
        described["problems"] = [asdict(problem) for problem in error.problems]
    return described
