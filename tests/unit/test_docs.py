"""The documentation says what there is: a page for each command and scenario, each option and key, sound links."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testbed.cli import COMMANDS, Parser
from testbed.topology.schema import schema

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted((*ROOT.glob("*.md"), *DOCS.rglob("*.md")))
TOPOLOGIES = sorted(path.stem for path in (ROOT / "topologies").glob("*.yaml"))

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ABROAD = re.compile(r"[a-z][a-z0-9+.-]*:")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_CODE = re.compile(r"^(?: {4}|\t).*$", re.MULTILINE)
_SCREEN = 100  # lines
_DEVELOPERS = re.compile(r"/home/|/root/|/Users/|/work\b|(?<!/var)/tmp/|C:\\")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return _CODE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(page)))
    return {word.strip().replace(" ", "-") for word in words}


def options(command: str) -> Iterator[argparse.Action]:
    """The options of a command, except --help."""
    parser = Parser(prog=command)
    import_module(f"testbed.cli.{command}_command").arguments(parser)
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            yield action


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_that_names_its_options_and_their_variables(command: str) -> None:
    page = (DOCS / "commands" / f"{command}.md").read_text()
    assert page.startswith(f"# testbed {command}\n")
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", page))
    for action in options(command):
        assert set(action.option_strings) <= told
        assert f"`TESTBED_{action.dest.upper()}`" in page
        for choice in action.choices or ():
            assert str(choice) in page


def test_every_page_of_a_command_is_of_one_that_there_is() -> None:
    pages = {page.stem for page in (DOCS / "commands").glob("*.md")}
    assert pages == {*COMMANDS, "index"}
    index = (DOCS / "commands" / "index.md").read_text()
    assert [f"[{command}]({command}.md)" for command in COMMANDS if f"[{command}]({command}.md)" not in index] == []


@pytest.mark.parametrize("scenario", TOPOLOGIES)
def test_every_topology_has_a_page(scenario: str) -> None:
    assert (DOCS / "scenarios" / f"{scenario}.md").is_file()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if _ABROAD.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_path_of_a_developers_machine(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if _DEVELOPERS.search(line)] == []


def test_every_page_is_linked_from_the_readme_or_an_index() -> None:
    sources = (README, DOCS / "index.md", DOCS / "commands" / "index.md")
    links = [(source.parent, link.partition("#")[0]) for source in sources for link in _LINK.findall(prose(source))]
    linked = {(folder / path).resolve() for folder, path in links}
    assert [name_of(page) for page in PAGES if page != README and page not in linked] == []


def test_the_readme_is_one_screen_and_its_commands_exist() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= _SCREEN
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^ {4}|`)make ([a-z]+)", text, re.MULTILINE):
        assert target in targets, target
    for command in re.findall(r"bin/testbed ([a-z]+)", text):
        assert command in COMMANDS, command
    for scenario in re.findall(r"scenario=([a-z0-9-]+)", text):
        assert scenario in TOPOLOGIES, scenario


def test_the_page_of_topologies_names_every_key_and_every_word() -> None:
    lines = (DOCS / "topology.md").read_text().splitlines()
    page = "\n".join(line for line in lines if line.startswith("|"))  # its tables: prose names some too
    told = set(re.findall(r"`([^`\s]+)`", page)) | set(re.findall(r"`\w+: ([^`\s]+)`", page))
    told |= set(re.findall(r"`(\w+): [^`\s]+`", page))
    assert sorted(set(_words(schema())) - told) == []


def _words(part: Any) -> Iterator[str]:
    """The keys and the words that a JSON Schema allows."""
    if isinstance(part, list):
        for item in part:
            yield from _words(item)
    if isinstance(part, dict):
        yield from part.get("properties", ())
        yield from (word for word in (*part.get("enum", ()), part.get("const")) if isinstance(word, str))
        for item in part.values():
            yield from _words(item)
