"""What an unquoted word of YAML says, if every reader of YAML agrees on it.

YAML 1.1 and YAML 1.2 read ``yes``, ``012`` or ``12:30`` differently. A topology is refused rather than
understood in a way that its author may not have meant.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.resolver import Resolver

from testbed.topology.words import show

DIGITS = 40  #: characters of a number
TAG_PREFIX = "tag:yaml.org,2002:"

_YAML_1_1: Any = Resolver()
_YAML_1_2 = {  # YAML 1.2.2 section 10.3.2
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_MEANINGS = {"int": "a number", "float": "a number", "timestamp": "a date", "null": "nothing"}


class ScalarError(Exception):
    """A scalar that cannot be taken for what it looks like; carries message and hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def plain(text: str) -> Any:
    """Return what a word without quotes says: text, a number, a truth value or nothing.

    Raises:
        ScalarError: YAML 1.1 and YAML 1.2 disagree on it, or it is too long a number.
    """
    kind = next((kind for kind, pattern in _YAML_1_2.items() if pattern.fullmatch(text)), "str")
    other = _YAML_1_1.resolve(yaml.ScalarNode, text, (True, False)).removeprefix(TAG_PREFIX)
    if kind == "int" and _LEADING_ZERO.fullmatch(text):
        hint = f'put it in quotes if it is text: "{text}"; leave the 0 out if it is a number'
        raise ScalarError(f"some readers of YAML take {show(text)} for an octal number because it starts with 0", hint)
    if other in {kind, "value", "merge"}:
        return _convert(text, kind)
    if "bool" in {kind, other}:
        truth = "true" if text.lower() in {"yes", "on"} else "false"
        hint = f'write {truth} without quotes, or "{text}" in quotes if you mean the word'
        raise ScalarError(f"some readers of YAML take {show(text)} for {truth}, others for a word", hint)
    meaning = _MEANINGS.get(other if kind == "str" else kind, "something else")
    hint = f'put it in quotes: "{text}"'
    raise ScalarError(f"some readers of YAML take {show(text)} for {meaning}, others for text", hint)


def tagged(tag: str, text: str) -> Any:
    """Return what a text says that has one of YAML's own tags, such as ``!!str``.

    Raises:
        ScalarError: the tag is none of the few that plain data needs, or the text does not fit it.
    """
    kind = tag.removeprefix(TAG_PREFIX)
    if tag == "!" or kind == "str":
        return text
    if kind not in _YAML_1_2 or not _YAML_1_2[kind].fullmatch(text):
        raise refused_tag(tag)
    return _convert(text, kind)


def refused_tag(tag: str) -> ScalarError:
    """Return the error for a tag that cannot be used."""
    short = f"!!{tag.removeprefix(TAG_PREFIX)}" if tag.startswith(TAG_PREFIX) else tag
    return ScalarError(f"the tag {show(short)} cannot be used here", "remove it; a topology needs no tags")


def _convert(text: str, kind: str) -> Any:
    """Return the value of a text of a kind whose pattern it matches."""
    if kind in {"int", "float"} and len(text) > DIGITS:
        raise ScalarError(f"this number has more than {DIGITS} digits", "put it in quotes if it is text")
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if kind == "float":
        return float(text.replace(".", "") if text[-1] in "fFnN" else text)
    if kind == "bool":
        return text.lower() == "true"
    return None if kind == "null" else text
