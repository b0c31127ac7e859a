"""Turn YAML text into a tree of nodes with their places, with limits that PyYAML's own composer lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from testbed.errors import Problem
from testbed.topology.marks import Mark
from testbed.topology.yaml_errors import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH = 32  #: levels of nesting; a topology needs five

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StopReadingError(Exception):
    """A problem after which nothing more can be said about a document."""

    def __init__(self, mark: Mark, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(*mark, message, hint)


@dataclass(frozen=True)
class Scalar:
    """A text as it is written; ``plain`` is without quotes and without a tag."""

    mark: Mark
    tag: str | None
    text: str
    plain: bool


@dataclass(frozen=True)
class Sequence:
    """A list of nodes."""

    mark: Mark
    tag: str | None
    items: list[YamlNode]


@dataclass(frozen=True)
class Mapping:
    """Pairs of nodes, in the order of the file; the same key may occur twice."""

    mark: Mark
    tag: str | None
    pairs: list[tuple[YamlNode, YamlNode]]


YamlNode = Scalar | Sequence | Mapping


def compose(text: str) -> YamlNode | None:
    """Return the root of the only document in a text, or nothing if there is none.

    Raises:
        StopReadingError: the text is no YAML, has a second document, is too deep or has an alias that leads
            nowhere.
    """
    return _Composer(text).document()


def _mark(event: Any) -> Mark:
    """Return where an event starts, counted from 1."""
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


class _Composer:
    """The events of one text, and the anchors seen in it; an anchor without node is still being read."""

    def __init__(self, text: str) -> None:
        self._events = self._parse(text)
        self._anchors: dict[str, YamlNode | None] = {}

    @staticmethod
    def _parse(text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            raise StopReadingError(*in_words(error)) from None

    def document(self) -> YamlNode | None:
        """Return the root of the only document."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 1)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise StopReadingError(_mark(after), "a second document starts here", "keep one topology per file")
        return root

    def _node(self, event: Any, depth: int) -> YamlNode:
        """Return the node that starts with an event."""
        if depth > DEPTH:
            message = f"this is nested more than {DEPTH} levels deep"
            raise StopReadingError(_mark(event), message, "a topology needs five; a bracket may be left open above")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._new(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> YamlNode:
        """Return the node that an alias stands for."""
        if event.anchor not in self._anchors:
            hint = f"write &{event.anchor} before a value above this line, or put the text in quotes"
            raise StopReadingError(_mark(event), f"the alias *{event.anchor} stands for nothing", hint)
        node = self._anchors[event.anchor]
        if node is None:
            message = f"the alias *{event.anchor} stands for a value that contains this very alias"
            raise StopReadingError(_mark(event), message, "write the value out")
        return node

    def _new(self, event: Any, depth: int) -> YamlNode:
        """Return the scalar, list or mapping that starts with an event."""
        mark, tag = _mark(event), event.tag
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(mark, tag, event.value, event.style in {None, ""} and tag is None)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(mark, tag, [self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)])
        pairs = []
        for key in self._until(yaml.MappingEndEvent):
            node = self._node(key, depth + 1)
            pairs.append((node, self._node(next(self._events), depth + 1)))
        return Mapping(mark, tag, pairs)

    def _until(self, end: type) -> Iterator[Any]:
        """Give each event until one ends the collection."""
        while not isinstance(event := next(self._events), end):
            yield event
