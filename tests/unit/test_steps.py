"""The steps of a bootstrap: timed, told as they end, and named where they fail."""

from __future__ import annotations

import json
from ipaddress import IPv6Address
from typing import Any

import pytest
from samples import wait_for

from testbed.errors import BootstrapError, NotReadyError
from testbed.mip6.journal import note
from testbed.mip6.steps import Name, Steps

ADDRESS = IPv6Address("2001:db8::1")


def test_steps_are_told_as_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []
    steps = Steps(told.append)

    async def scenario() -> None:
        async with steps.step(Name.ROUTER) as step:
            assert told == []
            step.text = "a router"
            step.waiting = 0.5
            step.facts["router"] = ADDRESS
        async with steps.step(Name.IKE) as step:
            step.waiting = 0.25

    wait_for(scenario())
    assert [entry["step"] for entry in told] == ["router", "ike"]
    assert told[0]["text"] == "a router"
    assert told[0]["waiting"] == 0.5
    assert told[0]["facts"] == {"router": "2001:db8::1"}
    assert all(0 <= entry["seconds"] < 5 for entry in told)
    assert json.loads(json.dumps(told)) == told
    assert steps.waiting == 0.75
    assert steps.seconds >= sum(entry["seconds"] for entry in told) - 1e-5
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["step"]) for line in logged] == [("step", "router"), ("step", "ike")]
    assert logged[0]["router"] == "2001:db8::1"


def test_a_step_that_fails_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []

    async def scenario() -> None:
        async with Steps(told.append).step(Name.CARE_OF):
            raise NotReadyError("no lease", where="eth0", hint="look at kea", evidence=("one", "two"))

    with pytest.raises(BootstrapError) as caught:
        wait_for(scenario())
    error = caught.value
    assert (error.step, error.message, error.hint) == ("care-of address", "eth0: no lease", "look at kea")
    assert error.evidence == ("one", "two")
    assert told == []
    assert json.loads(capsys.readouterr().out)["event"] == "step failed"


def test_what_is_no_error_of_ours_passes_through() -> None:
    async def scenario() -> None:
        async with Steps(lambda _: None).step(Name.IKE):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wait_for(scenario())


def test_a_note_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    note("bound", home_address=ADDRESS, reason="two\nlines", many=("a", "b"))
    [line] = capsys.readouterr().out.splitlines()
    entry = json.loads(line)
    assert entry.pop("time") > 1_700_000_000
    assert entry == {
        "event": "bound",
        "home_address": "2001:db8::1",
        "reason": "two\nlines",
        "many": ["a", "b"],
    }
