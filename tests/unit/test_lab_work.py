"""What commands do with a running lab: daemons that start, bootstraps, states; its agents are sockets of ours."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from samples import US, noted, third_party, until, wait_for

from testbed import bootstrap as bootstrap_module
from testbed import status as status_module
from testbed.bootstrap import bootstrap
from testbed.daemons.base import Daemon, file_exists
from testbed.daemons.start import Running, check_all, start_all
from testbed.errors import BootstrapError, CheckError, LabError, NotReadyError, ProcessError, TestbedError
from testbed.lab import Lab
from testbed.mip6.control import serve
from testbed.process import Completed
from testbed.runtime.base import Room, marked
from testbed.status import Status, status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from testbed.events import Event
    from testbed.topology.plan import Host

HOME, CARE_OF, AGENT = "2001:db8:7::1:1", "2001:db8:5::9", "2001:db8:7::1"
MOBILE = {
    "state": "registered",
    "home_address": HOME,
    "care_of_address": CARE_OF,
    "home_agent": AGENT,
    "sequence": 7,
    "remaining": 599.0,
}
BINDING = {"home_address": HOME, "care_of_address": CARE_OF, "sequence": 7}
RESULT = {
    "home_agent": AGENT,
    "home_agent_name": "ha1.carrier.example",
    "home_address": HOME,
    "care_of_address": CARE_OF,
    "at_home": False,
    "seconds": 0.5,
    "waiting": 0.25,
}
STEP = {"step": "router", "text": "a router", "seconds": 0.1, "waiting": 0.0, "facts": {}}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose nodes are this very process; its commands run without entering it."""
    (tmp_path / "l").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = Path("l")  # a path of a socket has at most 107 octets
    saved = noted(Running("ha1", "radvd", US), Running("mn1", "mobile-node", US))
    for node in saved.rooms:
        for part in ("var/home-agent", "var/mobile-node", "log"):
            (folder / "nodes" / node / "lab" / part).mkdir(parents=True)
    monkeypatch.setattr(Room, "command", lambda _self, arguments: list(arguments))
    return Lab("lab", folder, saved)


class Agents:
    """The agents of a lab: what each answers."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.mobile: dict[str, Any] | TestbedError = dict(MOBILE)
        self.bindings: list[dict[str, Any]] = [dict(BINDING)]
        self.outcome: dict[str, Any] | TestbedError = RESULT
        self.home_agent_answers = True

    async def serving(self, stack: AsyncExitStack) -> None:
        async def agent(_request: dict[str, Any], _send: Any) -> dict[str, Any]:
            if not self.home_agent_answers:
                raise LabError("it is ill")
            return {"bindings": self.bindings}

        async def mobile(_request: dict[str, Any], _send: Any) -> dict[str, Any]:
            if isinstance(self.mobile, TestbedError):
                raise self.mobile
            return self.mobile

        async def boot(_request: dict[str, Any], send: Any) -> dict[str, Any]:
            send(STEP)
            if isinstance(self.outcome, TestbedError):
                raise self.outcome
            return self.outcome

        rooms = self.lab.rooms
        ha1, mn1 = rooms["ha1"].lab / "var/home-agent/control", rooms["mn1"].lab / "var/mobile-node/control"
        await stack.enter_async_context(await serve(ha1, {"status": agent}))
        await stack.enter_async_context(await serve(mn1, {"status": mobile, "bootstrap": boot}))


@pytest.fixture
def agents(lab: Lab) -> Agents:
    return Agents(lab)


class Pings:
    """Stands in for ping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.lost = ""
        monkeypatch.setattr(bootstrap_module, "run", self.run)

    async def run(self, arguments: Sequence[str], **_: Any) -> Completed:
        self.sent.append(tuple(arguments))
        if arguments[-1] == self.lost:
            raise ProcessError("ping ended with status 1", evidence=("1 packets transmitted, 0 received",))
        return Completed(tuple(arguments), 0, "64 bytes: icmp_seq=1 ttl=62 time=0.64 ms\n", 0.0)


@pytest.fixture
def pings(monkeypatch: pytest.MonkeyPatch) -> Pings:
    return Pings(monkeypatch)


def booted(agents: Agents, nodes: Sequence[str] = ()) -> tuple[list[Any], list[Event]]:
    told: list[Event] = []

    async def scenario() -> list[Any]:
        async with AsyncExitStack() as stack:
            await agents.serving(stack)
            return await bootstrap(agents.lab, nodes, told.append)

    return wait_for(scenario()), told


def test_a_bootstrap_and_its_traffic(agents: Agents, pings: Pings) -> None:
    [done], told = booted(agents)
    assert (done.node, done.home_agent, done.home_address) == ("mn1", "ha1.carrier.example", HOME)
    assert (done.seconds, done.waiting) == (0.5, 0.25)
    assert told[0].text == "router: a router"
    assert (told[0].kind, told[0].source, told[0].seconds) == ("step", "mn1", 0.1)
    cn1 = str(third_party().hosts["cn1"].address)
    assert told[1].text == f"traffic: {HOME} -> cn1 0.64 ms, cn1 -> {HOME} 0.64 ms"
    assert [sent[-3:] for sent in pings.sent] == [("-I", HOME, cn1), ("-w", "5", HOME)]


def test_a_failed_bootstrap_carries_the_logs_of_who_took_part(agents: Agents, pings: Pings) -> None:
    agents.outcome = BootstrapError("refused", step="ike", hint="look", evidence=("evidence",))
    for node, daemon in (("mn1", "strongswan"), ("ha1", "strongswan"), ("aaa2", "freeradius"), ("ha1", "radvd")):
        log = agents.lab.rooms[node].lab / "log" / f"{daemon}.log"
        log.write_text("".join(f"line {number}\n" for number in range(20)))
    with pytest.raises(BootstrapError) as caught:
        booted(agents)
    error = caught.value
    assert (error.step, error.where, error.message, error.hint) == ("ike", "mn1", "refused", "look")
    assert error.evidence[0] == "evidence"
    sources = {line.split(":")[0] for line in error.evidence[1:]}
    assert sources == {"mn1/strongswan", "ha1/strongswan", "aaa2/freeradius"}  # radvd has nothing to say of it
    assert len(error.evidence) == 1 + 3 * 8
    assert not pings.sent


@pytest.mark.parametrize("lost", ["there", "back"])
def test_traffic_that_is_lost_is_a_failed_step(agents: Agents, pings: Pings, lost: str) -> None:
    pings.lost = HOME if lost == "back" else str(third_party().hosts["cn1"].address)
    with pytest.raises(BootstrapError, match="no echo reply from") as caught:
        booted(agents)
    assert caught.value.step == "traffic"
    assert "1 packets transmitted, 0 received" in caught.value.evidence


@pytest.mark.parametrize(("node", "message"), [("ha1", "ha1 is no mobile node"), ("mn9", "there is no node 'mn9'")])
def test_what_cannot_bootstrap(agents: Agents, node: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        booted(agents, [node])


def test_a_node_without_an_agent(lab: Lab) -> None:
    with pytest.raises(LabError, match="no mobility agent runs there"):
        wait_for(bootstrap(lab, [], lambda _: None))


class NoNetlink:
    """Addresses of a node, without asking a kernel."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def addresses(self) -> tuple[()]:
        return ()


def seen(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> Status:
    monkeypatch.setattr(status_module, "Netlink", NoNetlink)

    async def scenario() -> Status:
        async with AsyncExitStack() as stack:
            await agents.serving(stack)
            return await status(agents.lab)

    return wait_for(scenario())


def test_a_sound_lab(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(agents, monkeypatch)
    assert found.sound
    assert [node.name for node in found.nodes] == list(third_party().hosts)
    assert {node.name: node.daemons for node in found.nodes}["ha1"] == {"radvd": True}
    [binding] = found.bindings
    assert (binding.state, binding.home_address, binding.disagreement) == ("registered", HOME, "")
    assert found.document()["sound"] is True


@pytest.mark.parametrize(
    ("mobile", "bindings", "disagreement"),
    [
        ({}, [], "no binding"),
        ({}, [{**BINDING, "care_of_address": "2001:db8:6::9"}], "bound to 2001:db8:6::9"),
        ({}, [{**BINDING, "sequence": 6}], "sequence number 6"),
        ({"state": "failed"}, [BINDING], f"bound to {CARE_OF}"),
        ({"state": "failed"}, [], ""),
    ],
)
def test_ends_that_disagree(
    mobile: dict[str, Any],
    bindings: list[dict[str, Any]],
    disagreement: str,
    agents: Agents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents.mobile, agents.bindings = {**MOBILE, **mobile}, bindings
    found = seen(agents, monkeypatch)
    assert found.bindings[0].disagreement == disagreement
    assert found.sound == (not disagreement)


def test_agents_that_do_not_answer(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    agents.mobile, agents.home_agent_answers = LabError("it is ill"), False
    [binding] = seen(agents, monkeypatch).bindings
    assert (binding.state, binding.disagreement) == ("unknown", "it is ill")


def test_what_does_not_run_any_more(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = replace(US, started=1)
    rooms = {**agents.lab.saved.rooms, "ar1": dead}
    running = (Running("ha1", "radvd", dead),)
    agents.lab = replace(agents.lab, saved=replace(agents.lab.saved, rooms=rooms, running=running))
    found = seen(agents, monkeypatch)
    assert not found.sound
    assert [node.name for node in found.nodes if not node.alive] == ["ar1"]
    assert {node.name: node.daemons for node in found.nodes}["ha1"] == {"radvd": False}


# Daemons that start.


def daemons(monkeypatch: pytest.MonkeyPatch, **of: Daemon) -> None:
    """Say which daemon each host runs; the others run none."""

    def daemons_of(host: Host) -> tuple[Daemon, ...]:
        return (of[host.name],) if host.name in of else ()

    monkeypatch.setattr("testbed.daemons.start.daemons_of", daemons_of)


def shell(script: str, check: str = "", deadline: float = 10.0) -> Daemon:
    command = ("sh", "-c", script)
    checker = ("sh", "-c", check) if check else ()
    return Daemon("radvd", "", command, file_exists("up"), "it is up", checker, deadline=deadline)


def test_daemons_start_after_those_that_they_need(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ar1, ha1 = lab.rooms["ar1"].lab / "var" / "up", lab.rooms["ha1"].lab / "var" / "up"
    daemons(
        monkeypatch,
        ar1=shell(f"test -e {ha1} && touch {ar1} && exec sleep 60"),  # ends at once if it comes first
        ha1=shell(f"echo started; touch {ha1}; exec sleep 60"),
    )
    plan = third_party()
    after = replace(plan, hosts={**plan.hosts, "ar1": replace(plan.hosts["ar1"], after=("ha1",))})
    told: list[Event] = []
    assert wait_for(started(lab, start_all(after, lab.rooms, told.append))) == 2
    assert [event.source for event in told] == ["ha1/radvd", "ar1/radvd"]
    assert (lab.rooms["ha1"].lab / "log" / "radvd.log").read_text() == "started\n"


async def started(lab: Lab, work: Awaitable[list[Running]]) -> int:
    """Have daemons started, then killed and reaped, and say how many lived."""
    try:
        return sum(entry.process.alive for entry in await work)
    finally:
        left = marked(lab.folder)
        for process in left:
            process.kill()
        await until(lambda: not any(Path(f"/proc/{process.pid}").exists() for process in left))
        await asyncio.sleep(0.01)  # the event loop learns of it from a thread


def problem(lab: Lab, work: Awaitable[Any]) -> TestbedError:
    with pytest.raises(ExceptionGroup) as caught:
        wait_for(started(lab, work))
    [error] = caught.value.exceptions
    assert isinstance(error, TestbedError)
    return error


def test_a_daemon_that_dies_while_it_starts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    daemons(monkeypatch, ha1=shell("echo cannot bind; exit 3"))
    error = problem(lab, start_all(third_party(), lab.rooms, lambda _: None))
    assert isinstance(error, NotReadyError)
    assert error.where == "ha1/radvd"
    assert "ended with status 3 while starting" in error.message
    assert "cannot bind" in error.evidence


def test_a_daemon_that_is_never_ready(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    daemons(monkeypatch, ha1=shell("echo waiting; exec sleep 5", deadline=0.2))
    error = problem(lab, start_all(third_party(), lab.rooms, lambda _: None))
    assert str(error) == "ha1/radvd: not within 0.2 s: it is up"
    assert error.evidence == ("there is no /run/lab/var/up", "waiting")


def test_a_configuration_that_its_checker_refuses(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    daemons(monkeypatch, ar1=shell("true", "true"), ha1=shell("true", "echo line 7: syntax error; exit 1"))
    error = problem(lab, check_all(third_party(), lab.rooms))
    assert isinstance(error, CheckError)
    assert (error.where, error.evidence) == ("ha1/radvd", ("line 7: syntax error",))
