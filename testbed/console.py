"""What a person sees: events as plain lines as they happen, tables, errors."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from testbed.errors import BootstrapError, TestbedError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testbed.events import Event

_MILLISECONDS = 1000
_SOURCE_WIDTH = 18


class _Deaf:
    """Takes what nobody reads."""

    def write(self, _text: str) -> int:
        """Forget it."""
        return 0

    def flush(self) -> None:
        """Do nothing."""


class Console:
    """Prints for a person, or with ``as_json`` events on standard error and one document at the end."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._as_json = as_json
        # None where the caller closed it; a pipe whose reader left is no reason to stop what is under way
        self._out: TextIO | _Deaf = out or sys.stdout or _Deaf()
        self._err: TextIO | _Deaf = err or sys.stderr or _Deaf()

    def event(self, event: Event) -> None:
        """Tell an event."""
        if self._as_json:
            self._tell(json.dumps(asdict(event), default=str) + "\n")
            return
        took = "" if event.seconds is None else f"{event.seconds * _MILLISECONDS:8.1f} ms"
        wait = f" ({event.waiting * _MILLISECONDS:.0f} ms of it imposed)" if event.waiting > 0 else ""
        text = event.text if event.kind != "daemon" else "ready"
        self.text(f"  {event.source:{_SOURCE_WIDTH}} {took:>11}  {text}{wait}\n")

    def heading(self, text: str) -> None:
        """Print a heading; nothing as JSON."""
        self.text(f"{text}\n")

    def text(self, text: str) -> None:
        """Print text for a person; nothing as JSON."""
        if not self._as_json:
            self._print(text)

    def result(self, document: Any) -> None:
        """Print a result as JSON, if that is wanted."""
        if self._as_json:
            self._print(json.dumps(document, indent=2, default=str) + "\n")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; one whose header is empty has no line for it."""
        lines = [tuple(str(cell) for cell in row) for row in (header, *rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for line in lines if any(header) else lines[1:]:
            self.text("  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n")

    def interrupted(self, *, making: bool = False) -> None:
        """Tell that the user ended it; ``making`` a lab is undone."""
        self._tell("interrupted; what was being made is removed\n" if making else "interrupted\n")

    def error(self, error: TestbedError) -> None:
        """Print an error: one message, the evidence, the hint."""
        if self._as_json:
            self._print(json.dumps({"error": _described(error)}, indent=2, default=str) + "\n")
            return
        if isinstance(error, TopologyError):
            self._tell("\n".join(error.lines()) + "\n")
            return
        step = f" at step {error.step!r}" if isinstance(error, BootstrapError) else ""
        where = f"{error.where}{step}: " if error.where else ""
        self._tell(f"error: {where}{error.message}\n")
        for line in error.evidence:
            self._tell(f"    {line}\n")
        if error.hint:
            self._tell(f"hint: {error.hint}\n")

    def _print(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            self._out = _Deaf()
            # or Python complains at its end, when it flushes what it still holds
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _tell(self, text: str) -> None:
        try:
            self._err.write(text)
            self._err.flush()
        except BrokenPipeError:
            self._err = _Deaf()


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
