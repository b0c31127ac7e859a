"""The exact text that a wrong topology file gives: topologies/NAME.yaml in, topologies/NAME.txt out.

To write the texts anew after a message was changed, and then to read every one of them in the diff::

    GOLDEN_UPDATE=1 python -m pytest tests/golden/test_topology_errors.py
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testbed.errors import TopologyError
from testbed.topology.load import load

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in HERE.glob("topologies/*.yaml"))


def told(path: Path) -> str:
    with pytest.raises(TopologyError) as caught:
        load(path)
    return "\n".join(caught.value.lines()) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_topology_file(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    text = told(Path("topologies") / f"{case}.yaml")
    golden = HERE / "topologies" / f"{case}.txt"
    if os.environ.get("GOLDEN_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_text_has_its_topology() -> None:
    assert sorted(path.stem for path in HERE.glob("topologies/*.txt")) == CASES


def test_each_case_shows_one_problem_unless_it_says_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    several = []
    for case in CASES:
        with pytest.raises(TopologyError) as caught:
            load(Path("topologies") / f"{case}.yaml")
        if len(caught.value.problems) > 1:
            several.append(case)
    assert several == [case for case in CASES if case.startswith("many-")]


def nothing(path: Path) -> None:
    (path.parent / "third-party.yaml").touch()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


def octets(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(
            nothing,
            "third-part.yaml: there is no such file\n    hint: did you mean 'third-party.yaml'?\n",
            id="missing",
        ),
        pytest.param(
            Path.mkdir,
            "third-part.yaml: this is a folder, not a file\n    hint: name a .yaml file\n",
            id="folder",
        ),
        pytest.param(
            fifo,
            "third-part.yaml: this is a named pipe, not a file\n    hint: name a .yaml file\n",
            id="fifo",
        ),
        pytest.param(
            unix_socket,
            "third-part.yaml: this is a socket, not a file\n    hint: name a .yaml file\n",
            id="socket",
        ),
        pytest.param(loop, "third-part.yaml: this is a symbolic link that leads back to itself\n", id="loop"),
        pytest.param(
            octets(b"#" * (256 * 1024 + 1)),
            "third-part.yaml: the file is larger than 256 KiB\n"
            "    hint: a topology is a few kilobytes of text; is this the right file?\n",
            id="huge",
        ),
        pytest.param(
            octets(b"title: a\nsection: \0\n"),
            "third-part.yaml:2:10: a character that cannot be printed: U+0000 (a control character)\n"
            "    hint: remove it\n",
            id="nul",
        ),
        pytest.param(
            octets(b"title: a\ntitle: caf\xe9\n"),
            "third-part.yaml:2:11: this is not UTF-8 text\n    hint: save the file with the encoding UTF-8\n",
            id="latin-1",
        ),
        pytest.param(
            octets("title: a\n".encode("utf-16")),
            "third-part.yaml:1:1: this is not UTF-8 text\n    hint: save the file with the encoding UTF-8\n",
            id="utf-16",
        ),
        pytest.param(
            octets(b""),
            "third-part.yaml: the file is empty\n    hint: topologies/third-party.yaml is a complete example\n",
            id="no octets",
        ),
    ],
)
def test_file_that_cannot_be_stored(
    make: Callable[[Path], None], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("third-part.yaml")
    make(path)
    assert told(path) == text + "1 problem in the topology\n"


def test_missing_file_without_a_near_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.yaml").touch()
    Path("a.yaml").touch()
    assert "\n    hint: topologies in this folder: a.yaml, b.yaml\n" in told(Path("third-party.yaml"))


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "topologes/a.yaml: there is no such file\n    hint: the folder 'topologes' does not exist\n"
    assert told(Path("topologes/a.yaml")).startswith(text)


def test_device() -> None:
    assert told(Path("/dev/zero")).startswith("/dev/zero: this is a device, not a file\n")


def test_nul_in_the_path() -> None:
    assert "this path contains a NUL character\n" in told(Path("a\0b.yaml"))


def test_no_right_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    Path("a.yaml").touch()
    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    text = "a.yaml: you may not read this file\n    hint: give yourself the right to read it: chmod u+r\n"
    assert told(Path("a.yaml")) == text + "1 problem in the topology\n"
