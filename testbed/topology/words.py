"""How a problem is put into words: what was found, what is near, what is allowed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 40  #: characters of a value that a message repeats
LISTED = 8  #: names that a hint lists


def show(value: object, quote: str = "'") -> str:
    """Return a value as a message shows it: text in quotes, escaped and shortened."""
    if isinstance(value, str):
        short = repr(value if len(value) <= SHOWN else value[: SHOWN - 3] + "...")
        return short if quote else short[1:-1]
    return str(value)


def kind_of(value: object) -> str:
    """Return what a reader of YAML would call a value, with the value if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return f"{'the text' if isinstance(value, str) else 'the number'} {show(value)}"


def listing(names: Iterable[str]) -> str:
    """Return names joined by commas, the first few of them if there are many."""
    every = list(names)
    more = len(every) - LISTED
    return ", ".join(every[:LISTED]) + (f" and {more} more" if more > 0 else "")


def joined(names: Iterable[str]) -> str:
    """Return names in quotes as a sentence lists them: 'a', 'b' and 'c'."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > LISTED:
        quoted = [*quoted[:LISTED], f"{len(quoted) - LISTED} more"]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def nearest(word: str, names: Iterable[str]) -> str:
    """Return a question that offers the name most like a word, or nothing if none is like it."""
    alike = 0.85 if "." in word else 0.6  # domain names are alike already by their last labels
    found = get_close_matches(word, list(names), n=1, cutoff=alike)
    return f"did you mean '{found[0]}'?" if found else ""


def suggest(word: str, names: Iterable[str], label: str = "allowed") -> str:
    """Return a hint: the name most like a word, else all the names after a label."""
    every = list(names)
    return nearest(word, every) or (f"{label}: {listing(every)}" if every else f"{label}: none")
