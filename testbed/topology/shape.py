"""Say in plain words where a document has not the shape of a topology."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from testbed.topology.model import (
    Configured,
    Dhaad,
    DnsAaaa,
    DnsSrv,
    EapMschapv2,
    MnAaaKey,
    MnHaKey,
    MobileNode,
    Network,
    Node,
    Operator,
    Part,
    Protection,
    Topology,
)
from testbed.topology.words import kind_of, listing, show, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.errors import Problem
    from testbed.topology.document import Document
    from testbed.topology.marks import Location

#: how this version can protect a Binding Update
PROTECTIONS = (Protection.TUNNEL, Protection.AUTH_OPTION, Protection.NONE)

_ITEMS: dict[str | int, tuple[str, type[Part]]] = {
    "operators": ("operator", Operator),
    "networks": ("network", Network),
    "nodes": ("node", Node),
    "mobile_nodes": ("mobile node", MobileNode),
}
_WHOLE_ITEM = 2  #: keys that lead to a whole operator, network, node or mobile node
_KINDS = {"home_agent": "discovery", "credential": "method"}  #: part of a mobile node: the key that says its kind
_CREDENTIALS: dict[object, type[Part]] = {"mn-ha-key": MnHaKey, "mn-aaa-key": MnAaaKey}
_DISCOVERIES: dict[object, type[Part]] = {
    "dns-srv": DnsSrv,
    "dns-aaaa": DnsAaaa,
    "dhaad": Dhaad,
    "configured": Configured,
}

_NAME_RULE = "a name has 2 to 11 characters: a letter a-z, then a-z, 0-9 or '-', not '-' at the end"
_PATTERNS = {  # last key of a location: what its text is not, what it should be
    "domain": ("a domain name", "two or more labels of a-z, 0-9 and '-' joined by '.', such as corp.example"),
    "hostname": ("a domain name", "a name in the domain of the home agent's operator, such as mn1.carrier.example"),
    "name": ("a domain name", "a home agent's node and its operator's domain, such as ha1.carrier.example"),
    "nai": ("a network access identifier", "user@realm, the realm in lower case, such as mn1@corp.example"),
    "section": ("the number of a section", 'digits joined by dots, in quotes, such as "7.3"'),
}
_WHOLE_NUMBER = "a whole number"
_HIGHEST = {"preference": "65535"}  #: key of a number: its highest value; 2^64 - 1 for all others
_TYPES = {  # pydantic's type of complaint: what the value must be
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "tuple_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "greater_than_equal": _WHOLE_NUMBER,
    "less_than": _WHOLE_NUMBER,
}
_EXAMPLES: dict[str, str] = {
    "operators": "corp: {roles: [msa], domain: corp.example}",
    "networks": "access1: {kind: access, operator: visited}",
    "nodes": "ar1: {networks: [visited, access1], services: [router, radvd]}",
    "mobile_nodes": "mn1: with attach, nai, credential and home_agent",
    "credential": "{method: eap-mschapv2}",
    "home_agent": "{discovery: dns-srv, domain: carrier.example}",
}


def validate(document: Document, limit: int) -> tuple[Topology | None, list[Problem]]:
    """Return the topology that a document describes, or at most so many reasons why it describes none.

    The data goes through JSON because pydantic's strict mode then takes text, numbers and truth values for
    what they are, and yet turns text into names of roles, prefixes and the like.
    """
    try:
        return Topology.model_validate_json(json.dumps(document.data), strict=True), []
    except ValidationError as error:
        return None, list(islice(_problems(error, document), limit))


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    """Give a problem for each of pydantic's, except where one is told already."""
    for item in error.errors(include_url=False):
        found = _Finding(document, item)
        if item["type"] == "too_short" and item["input"]:
            continue  # pydantic counts only the entries that are valid, and has told of the others
        if not any(found.location[:end] in document.refused for end in range(len(found.location) + 1)):
            yield found.problem()


def subject(location: Location) -> str:
    """Return what a reader calls the part of a topology at a location."""
    keys = [key for key in location if isinstance(key, str)]
    if not keys:
        return "the topology"
    if len(keys) == 1 or keys[0] not in _ITEMS:
        return ".".join(keys)
    whole = f"{_ITEMS[keys[0]][0]} {show(keys[1])}"
    return f"{'.'.join(keys[2:])} of {whole}" if keys[2:] else whole


class _Finding:
    """One of pydantic's complaints, on the way to a problem."""

    def __init__(self, document: Document, item: Any) -> None:
        location: list[str | int] = list(item["loc"])
        kind_of_part = _KINDS.get(str(location[2])) if len(location) > 2 and location[0] == "mobile_nodes" else None  # noqa: PLR2004
        if len(location) > 3 and kind_of_part:  # noqa: PLR2004
            del location[3]  # pydantic puts the kind of discovery or credential here, which is no key of the document
        self.is_key = len(location) == 3 and location[0] in _ITEMS and location[2] == "[key]"  # noqa: PLR2004
        self.location: Location = tuple(location[:2] if self.is_key else location)
        self._type: str = item["type"]
        self._context: dict[str, Any] = item.get("ctx", {})
        self._input: Any = item["input"]
        self._said: str = item["msg"]
        self._document = document
        if kind_of_part and item["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            self.location = (*self.location, kind_of_part)
        self._is_entry = bool(self.location) and isinstance(self.location[-1], int)
        self._last = str(next((key for key in reversed(self.location) if isinstance(key, str)), ""))

    def problem(self) -> Problem:
        """Return the complaint in plain words, at the key or value that it is about."""
        marks = self._document.marks
        if self._type == "extra_forbidden":
            return marks.at_key(self.location, *self._unknown_key())
        if self._type in {"missing", "union_tag_not_found"}:
            return marks.at_key(self.location, *self._missing())
        if self.is_key:
            return marks.at_key(self.location, *self._bad_name())
        if self._type in {"enum", "literal_error", "union_tag_invalid"}:
            return marks.at_value(self.location, *self._not_one_of(subject(self.location)))
        return marks.at_value(self.location, *self._bad_value())

    def _unknown_key(self) -> tuple[str, str]:
        """Word an unknown key."""
        *around, key = self.location
        whole = tuple(around)
        where = f"in {subject(whole)}" if whole else "at the top level"
        free = [name for name in self._model(whole).model_fields if name not in self._data(whole)]
        every = list(self._model(whole).model_fields)
        return f"unknown key {show(key)} {where}", suggest(str(key), free or every, "allowed here")

    def _missing(self) -> tuple[str, str]:
        """Word a key that is not there."""
        return f"{subject(self.location[:-1])} has no '{self._last}'", self._meaning()

    def _bad_name(self) -> tuple[str, str]:
        """Word a key of operators, networks, nodes or mobile_nodes that is no name."""
        section, name = self.location
        what = _ITEMS[section][0]
        article = "an" if what[0] in "aeiou" else "a"
        return f"{show(name)} cannot be the name of {article} {what}", _NAME_RULE

    def _bad_value(self) -> tuple[str, str]:
        """Word a value that is not allowed."""
        what, found = self._what(), self._found()
        if self._input is None:
            return f"{what} has no value", self._example() or self._meaning()
        if self._type in _TYPES:
            must = _TYPES[self._type]
            if must is _WHOLE_NUMBER:
                must += f" from 0 to {_HIGHEST.get(self._last, '2^64 - 1')}"
            return f"{what} must be {must}, found {found}", self._example()
        if self._type in {"too_short", "string_too_short"}:
            return f"{what} is empty", self._meaning()
        if self._type in {"too_long", "string_too_long"}:
            return self._too_long(what)
        if self._type == "string_pattern_mismatch":
            return self._no_match(what)
        return self._no_prefix(what) if self._last == "prefix" else (f"{what} cannot be {found}", self._said)

    def _not_one_of(self, what: str) -> tuple[str, str]:
        """Word a value that is none of a few words."""
        expected = self._context.get("expected_tags") or self._context.get("expected", "")
        allowed: list[str] = re.findall(r"'([^']*)'", expected)
        found = self._input
        if self._type == "union_tag_invalid":
            found = self._context.get("tag", "")
        if self.location == ("protection",):
            allowed = [*PROTECTIONS]
        if not isinstance(found, str):
            return f"{self._what()} must be a word, found {self._found()}", f"allowed: {listing(allowed)}"
        return f"{what}: unknown value {show(found)}", suggest(found, allowed)

    def _too_long(self, what: str) -> tuple[str, str]:
        """Word a text, list or mapping that is too long."""
        limit = self._context["max_length"]
        if isinstance(self._input, str):
            hint = _NAME_RULE if self._last not in _PATTERNS and limit < 20 else ""  # noqa: PLR2004 - names are short
            return f"{what} has {len(self._input)} characters, at most {limit} are allowed", hint
        return f"{what} has {len(self._input)} entries, at most {limit} are allowed", ""

    def _no_match(self, what: str) -> tuple[str, str]:
        """Word a text that has not the form that it should have."""
        kind, rule = _PATTERNS.get(self._last, ("a name", _NAME_RULE))
        return f"{what}: {show(self._input)} is not {kind}", rule

    def _no_prefix(self, what: str) -> tuple[str, str]:
        """Word a text that is no IPv6 prefix."""
        what = f"{what}: {show(self._input)}"
        if "has host bits set" in self._said:
            return f"{what} has bits set behind its length", f"write {ip_network(self._input, strict=False)}"
        return f"{what} is not an IPv6 prefix", "write one such as 2001:db8:0:1::/64"

    def _what(self) -> str:
        """Return what a reader calls the value; the entry if it is one of a list."""
        return f"an entry in {subject(self.location)}" if self._is_entry else subject(self.location)

    def _found(self) -> str:
        """Return the kind of the value that was found; a number as it is written, 7.10 and not 7.1."""
        written = self._document.unquoted.get(self.location)
        if written and isinstance(self._input, int | float) and not isinstance(self._input, bool):
            return f"the number {written}"
        return kind_of(self._input)

    def _meaning(self) -> str:
        """Return a hint that says what the value at this location is for."""
        if self._is_entry or len(self.location) == _WHOLE_ITEM:
            return ""
        field = self._model(self.location[:-1]).model_fields.get(self._last)
        return f"{self._last}: {field.description}" if field and field.description else ""

    def _example(self) -> str:
        """Return a hint that shows how a value of this type, or at this location, may be written."""
        written = self._document.unquoted.get(self.location)
        if self._type == "string_type":
            label = "" if self._is_entry else f"{self._last}: "
            return f'put it in quotes: {label}"{written}"' if written else ""
        if self._type in {"int_type", "bool_type"} and re.fullmatch("true|false|[0-9]+", str(self._input)):
            return "write it without quotes"
        if self._type == "tuple_type" and isinstance(self._input, str):
            return f"write [{show(self._input, '')}]"
        place = self.location
        example = _EXAMPLES.get(str(place[0] if len(place) <= _WHOLE_ITEM else place[-1]))
        return f"for example {example}" if example and self._type in _TYPES else ""

    def _data(self, location: Location) -> Any:
        """Return the data at a location."""
        data = self._document.data
        for key in location:
            data = data[key]
        return data

    def _model(self, location: Location) -> type[Part]:
        """Return the part of the model that describes the mapping at a location."""
        if not location:
            return Topology
        if len(location) <= _WHOLE_ITEM:
            return _ITEMS[location[0]][1]
        if location[-1] == "credential":
            return _CREDENTIALS.get(self._data(location).get("method"), EapMschapv2)
        return _DISCOVERIES.get(self._data(location).get("discovery"), Configured)
