"""Turn YAML into plain data and the place of each part of it, without building objects that YAML asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from testbed.errors import Problem
from testbed.topology.marks import Marks
from testbed.topology.nodes import Mapping, Scalar, StopReadingError, compose
from testbed.topology.read import printable
from testbed.topology.scalars import TAG_PREFIX, ScalarError, plain, refused_tag, tagged
from testbed.topology.words import kind_of, show

if TYPE_CHECKING:
    from testbed.topology.marks import Location, Mark
    from testbed.topology.nodes import YamlNode

NODES = 20_000  #: values after every alias has been replaced by what it stands for


@dataclass
class Document:
    """What a YAML text says: data, the places of its parts, and what is wrong with it as YAML.

    ``unquoted`` is how words without quotes are written: the number 7.10 would be shown as 7.1. ``refused``
    are the locations whose problem is told already; ``complete`` says that no part had to be left out.
    """

    data: Any = None
    marks: Marks = field(default_factory=Marks)
    unquoted: dict[Location, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[Location] = field(default_factory=set)
    complete: bool = True


def parse(text: str) -> Document:
    """Return what a YAML text says; its problems are in the document, none is raised."""
    document = Document()
    try:
        root = compose(text)
        if root is not None:
            document.data = _Walk(document).value(root, (), root.mark)
    except StopReadingError as stop:
        document.problems.append(stop.problem)
        document.complete = False
    return document


class _Walk:
    """Nodes to plain data, noting places and problems in a document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = NODES

    def value(self, node: YamlNode, location: Location, mark: Mark) -> Any:
        """Return a node's data, or nothing after noting why it is refused; its place is ``mark``."""
        self._left -= 1
        if self._left < 0:
            message = f"there are more than {NODES} values; an alias counts as all that it stands for"
            raise StopReadingError(mark, message, "use fewer aliases, or a smaller scenario")
        self._document.marks.values[location] = mark
        try:
            if isinstance(node, Scalar):
                if node.plain:
                    self._document.unquoted[location] = node.text
                return self._scalar(node)
            if node.tag not in {None, "!", TAG_PREFIX + ("map" if isinstance(node, Mapping) else "seq")}:
                raise refused_tag(str(node.tag))
        except ScalarError as error:
            return self._refuse(location, mark, error.message, error.hint)
        if isinstance(node, Mapping):
            return self._mapping(node, location)
        return [self.value(item, (*location, index), item.mark) for index, item in enumerate(node.items)]

    def _refuse(self, location: Location, mark: Mark, message: str, hint: str) -> None:
        """Note a problem of the value at a location."""
        self._document.problems.append(Problem(*mark, message, hint))
        self._document.refused.add(location)
        self._document.complete = False

    def _scalar(self, node: Scalar) -> Any:
        """Return the text, number, truth value or nothing that a scalar says."""
        bad = next((character for character in node.text if not printable(character)), None)
        if bad is not None:
            what = "a line break" if bad == "\n" else f"the character U+{ord(bad):04X}, which cannot be printed"
            raise ScalarError(f"this text contains {what}", "every text of a topology is one printable line")
        if node.plain:
            return plain(node.text)
        return node.text if node.tag is None else tagged(node.tag, node.text)

    def _mapping(self, node: Mapping, location: Location) -> dict[str, Any]:
        """Return a mapping's data, without the entries whose key is refused."""
        marks = self._document.marks.keys
        data: dict[str, Any] = {}
        for key_node, value_node in node.pairs:
            key = self._key(key_node, location)
            if key is None:
                continue
            place = (*location, key)
            if key in data:
                first = marks[place]
                hint = f"it stands at {first.line}:{first.column} already; keep one of them"
                message = f"the key {show(key)} is given twice"
                self._document.problems.append(Problem(*key_node.mark, message, hint))
                continue
            marks[place] = key_node.mark
            empty = isinstance(value_node, Scalar) and value_node.plain and not value_node.text
            data[key] = self.value(value_node, place, key_node.mark if empty else value_node.mark)
        if node.pairs and not data:
            self._document.refused.add(location)
        return data

    def _key(self, node: YamlNode, location: Location) -> str | None:
        """Return a key, or nothing after noting why it is none."""
        place = (*location, node.text if isinstance(node, Scalar) else "")
        try:
            return self._word(node)
        except ScalarError as error:
            self._refuse(place, node.mark, error.message, error.hint)
            return None

    def _word(self, node: YamlNode) -> str:
        """Return the text of a key."""
        if not isinstance(node, Scalar):
            hint = "a key is a word before a ':'; put brackets in quotes if they belong to a text"
            raise ScalarError("a list or mapping cannot be a key", hint)
        if node.plain and node.text == "<<":
            raise ScalarError("merge keys ('<<') are not supported", "write the keys out")
        if not node.text:
            raise ScalarError("there is no key before this ':'", "write a word before it")
        in_quotes = f'put it in quotes: "{node.text}"'
        try:
            key = self._scalar(node)
        except ScalarError as error:
            raise ScalarError(error.message, in_quotes if node.plain else error.hint) from None
        if isinstance(key, str):
            return key
        raise ScalarError(f"a key must be text, found {kind_of(key)}", in_quotes)
