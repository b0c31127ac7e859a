"""Say in plain words what a YAML parser found wrong; libyaml and PyYAML word the same things differently."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from testbed.topology.marks import WHOLE_FILE, Mark


class _Known(NamedTuple):
    """Words that a parser's error contains, and ours for it.

    ``at_start`` is whether to look where the parser began to read the thing, or where it stopped.
    """

    needles: tuple[str, ...]
    at_start: bool
    message: str
    hint: str


_INDENT = ("this line does not fit the lines around it", "entries of one list or mapping start in one column")
_QUOTE = ("this quote is never closed", "close it with the same quote")
_CLOSE = "close it, and put a ',' between its entries"
_KNOWN = (
    _Known(
        ("mapping values are not allowed",),
        False,
        "there is a ':' where no key can stand",
        "look here and one line above for wrong indentation, a missing ': ', or a ': ' that needs quotes",
    ),
    _Known(("expected ',' or '}'",), True, "this '{' has no matching '}', or a ',' is missing in it", _CLOSE),
    _Known(("expected ',' or ']'",), True, "this '[' has no matching ']', or a ',' is missing in it", _CLOSE),
    _Known(("flow node",), False, "a key or value is missing here, or a bracket above is not closed", _CLOSE),
    _Known(("quoted scalar", "end of stream"), True, *_QUOTE),
    _Known(("quoted scalar", "document indicator"), True, *_QUOTE),
    _Known(("quoted scalar", "document separator"), True, *_QUOTE),
    _Known(
        ("could not find expected ':'",),
        True,
        "this line is no 'key: value'",
        "write a ':' and a space after a key",
    ),
    _Known(("expected key",), False, *_INDENT),
    _Known(("expected <block end>",), False, *_INDENT),
    _Known(("expected '-' indicator",), False, *_INDENT),
    _Known(
        ("sequence entries are not allowed",),
        False,
        "there is a '-' where no list can start",
        "start the list on the next line",
    ),
    _Known(("start any token",), False, "no text can start with this character", "put the text in quotes"),
    _Known(("undefined tag handle",), False, "this tag is not declared", "remove it; a topology needs no tags"),
    _Known(
        ("unknown escape character",),
        False,
        "this escape is unknown",
        "use single quotes for a text that contains '\\'",
    ),
)


def in_words(error: yaml.YAMLError) -> tuple[Mark, str, str]:
    """Return place, message and hint for a parser's error."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return WHOLE_FILE, "the file is not YAML", " ".join(str(error).split())
    said = f"{error.context or ''} {error.problem or ''}"
    for known in _KNOWN:
        if all(needle in said for needle in known.needles):
            return _place(error, at_start=known.at_start), known.message, known.hint
    return (
        _place(error, at_start=False),
        f"the file is not YAML: {error.problem or 'it cannot be parsed'}",
        "",
    )


def _place(error: yaml.MarkedYAMLError, *, at_start: bool) -> Mark:
    """Return where the parser began to read the thing, or where it stopped."""
    first, last = error.context_mark, error.problem_mark
    mark: Any = (first or last) if at_start else (last or first)
    return Mark(mark.line + 1, mark.column + 1) if mark else WHOLE_FILE
