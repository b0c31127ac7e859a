"""What a person sees, to the letter."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from testbed.console import Console
from testbed.errors import BootstrapError, LabError, Problem, TestbedError, TopologyError
from testbed.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = (
    Event("phase", "nodes", "namespaces made and wired", seconds=0.0421),
    Event("daemon", "ha1/home-agent", "/run/lab/var/home-agent/control accepts", seconds=0.1789),
    Event("step", "mn1", "router: fe80::1 answers", seconds=1.25, waiting=1.0, detail={"step": "router"}),
    Event("phase", "plan", "9 nodes, 7 networks, ESP by userland"),
    Event("step", "a-source-longer-than-its-column", "text", seconds=0),
)


def printed(show: Callable[[Console], None], *, as_json: bool = False) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    show(Console(as_json=as_json, out=out, err=err))
    return out.getvalue(), err.getvalue()


def events(console: Console) -> None:
    for event in EVENTS:
        console.event(event)


def test_events() -> None:
    assert printed(events) == (
        (
            "  nodes                  42.1 ms  namespaces made and wired\n"
            "  ha1/home-agent        178.9 ms  ready\n"
            "  mn1                  1250.0 ms  router: fe80::1 answers (1000 ms of it imposed)\n"
            "  plan                            9 nodes, 7 networks, ESP by userland\n"
            "  a-source-longer-than-its-column      0.0 ms  text\n"
        ),
        "",
    )


def test_events_as_json_go_to_standard_error() -> None:
    out, err = printed(events, as_json=True)
    assert out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    assert lines[2] == {
        "kind": "step",
        "source": "mn1",
        "text": "router: fe80::1 answers",
        "seconds": 1.25,
        "waiting": 1.0,
        "detail": {"step": "router"},
    }
    assert len(lines) == len(EVENTS)


def test_text_and_heading() -> None:
    def show(console: Console) -> None:
        console.heading("bootstrapping")
        console.text("as it is")

    assert printed(show) == ("bootstrapping\nas it is", "")
    assert printed(show, as_json=True) == ("", "")


def test_result() -> None:
    def show(console: Console) -> None:
        console.result({"path": EVENTS[0], "valid": True})

    assert printed(show) == ("", "")
    out, err = printed(lambda console: console.result({"valid": True, "n": [1]}), as_json=True)
    assert out == '{\n  "valid": true,\n  "n": [\n    1\n  ]\n}\n'
    assert err == ""


def test_table() -> None:
    def show(console: Console) -> None:
        console.table(("NODE", "N", "LAST"), [("ha1", 7, ""), ("a-longer-one", 12345, "x")])

    assert printed(show) == (
        (
            "  NODE          N      LAST\n"  # no blanks at the ends of lines
            "  ha1           7\n"
            "  a-longer-one  12345  x\n"
        ),
        "",
    )


def test_table_without_rows() -> None:
    assert printed(lambda console: console.table(("NODE", "STATE"), [])) == ("  NODE  STATE\n", "")


def test_interrupted() -> None:
    out, err = printed(Console.interrupted)
    assert out == ""
    assert err.startswith("interrupted")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TestbedError("it went wrong"), "error: it went wrong\n"),
        (
            LabError("the node does not run any more", where="ha1", hint="testbed down --lab lab"),
            "error: ha1: the node does not run any more\nhint: testbed down --lab lab\n",
        ),
        (
            BootstrapError("no router", step="router", where="mn1", evidence=("first", "second"), hint="look"),
            "error: mn1 at step 'router': no router\n    first\n    second\nhint: look\n",
        ),
        (
            TopologyError(
                "a.yaml", (Problem(3, 5, "second"), Problem(1, 2, "first", "do this"), Problem(0, 0, "file"))
            ),
            "a.yaml: file\na.yaml:1:2: first\n    hint: do this\na.yaml:3:5: second\n3 problems in the topology\n",
        ),
    ],
    ids=["plain", "where and hint", "bootstrap", "topology"],
)
def test_errors(error: TestbedError, text: str) -> None:
    assert printed(lambda console: console.error(error)) == ("", text)


def test_errors_as_json() -> None:
    error = BootstrapError("no router", step="router", where="mn1", evidence=("first",), hint="look")
    out, err = printed(lambda console: console.error(error), as_json=True)
    assert json.loads(out) == {
        "error": {"message": "no router", "where": "mn1", "hint": "look", "evidence": ["first"], "step": "router"}
    }
    assert err == ""
    topology = TopologyError("a.yaml", (Problem(1, 2, "first", "do this"),))
    out, _ = printed(lambda console: console.error(topology), as_json=True)
    assert json.loads(out)["error"]["problems"] == [{"line": 1, "column": 2, "message": "first", "hint": "do this"}]


def test_a_reader_that_left_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    console = Console(out=Gone(), err=Gone())
    console.text("to nobody")
    console.event(Event("phase", "plan", "done"))
    console.error(LabError("nobody hears"))


def test_an_output_that_is_closed_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Console().text("to nobody")
