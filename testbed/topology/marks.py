"""Where in a topology file each key and each value stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.errors import Problem

#: the keys and list indexes that lead from the root of a document to a value
Location = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in a file, counted from 1; 0 means the file as a whole."""

    line: int
    column: int


WHOLE_FILE = Mark(0, 0)


@dataclass(frozen=True)
class Marks:
    """The places of keys and values; what is not written down has the place of what it would be part of."""

    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)

    def key(self, *location: str | int) -> Mark:
        """Return where a key stands, or the nearest key around it."""
        while location and location not in self.keys:
            location = location[:-1]
        return self.keys.get(location, WHOLE_FILE)

    def value(self, *location: str | int) -> Mark:
        """Return where a value stands, or the nearest key around it."""
        return self.values[location] if location and location in self.values else self.key(*location)

    def at_key(self, location: Location, message: str, hint: str = "") -> Problem:
        """Return a problem of the key at a location."""
        return Problem(*self.key(*location), message, hint)

    def at_value(self, location: Location, message: str, hint: str = "") -> Problem:
        """Return a problem of the value at a location."""
        return Problem(*self.value(*location), message, hint)
