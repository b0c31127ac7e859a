"""What charon says over vici, in literal messages, and what is asked of it."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import aclosing
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
import vici
from samples import wait_for

from testbed.errors import NotReadyError
from testbed.mip6 import charon
from testbed.mip6.charon import Charon, IkeError, Notice, SecurityAssociation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOME, CARE_OF, MOVED = "2001:db8:b::1009", "2001:db8:1::19", "2001:db8:2::19"
AGENT = "2001:db8:a::2"

#: an IKE_SA at the home agent as list-sas gives it; of the same form in events
SECTION: dict[str, Any] = {
    "uniqueid": b"16",
    "version": b"2",
    "state": b"ESTABLISHED",
    "local-host": AGENT.encode(),
    "local-port": b"4500",
    "local-id": b"ha.home.example",
    "remote-host": CARE_OF.encode(),
    "remote-port": b"4500",
    "remote-id": b"mn9@home.example",
    "remote-vips": [HOME.encode()],
    "child-sas": {
        "home-sa-15": {
            "name": b"home-sa",
            "uniqueid": b"15",
            "reqid": b"8",
            "state": b"INSTALLED",
            "mode": b"TUNNEL",
            "local-ts": [b"::/0"],
            "remote-ts": [f"{HOME}/128".encode()],
        }
    },
}
ASSOCIATION = SecurityAssociation(
    16, "mns", "mn9@home.example", IPv6Address(CARE_OF), (), (IPv6Address(HOME),), frozenset({15}), IPv6Address(AGENT)
)


class Session:
    """A vici session that answers as told, and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []
        self.transport = self  # which ``close`` closes
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        raise OSError(107, "Transport endpoint is not connected")

    def __getattr__(self, command: str) -> Callable[..., Any]:
        def call(*arguments: Any, **_: Any) -> Any:
            self.asked.append((command, *arguments))
            answer = self.answers.get(command, {})
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def failing(*entries: Any, error: Exception) -> Iterator[Any]:
    yield from entries
    raise error


def associations(*entries: dict[str, Any]) -> list[SecurityAssociation]:
    return wait_for(Charon(Session(list_sas=iter(entries)), "").associations())


def notice(kind: str, message: dict[str, Any]) -> Notice | None:
    return charon._notice(kind, charon._text(message))


def test_established_associations() -> None:
    assert associations({"mns": SECTION}) == [ASSOCIATION]


def test_an_association_of_a_mobile_node() -> None:
    section = {
        **SECTION,
        "remote-host": AGENT.encode(),
        "remote-id": b"ha.home.example",
        "local-vips": [HOME.encode()],
        "remote-vips": [],
        "child-sas": {},
    }
    [found] = associations({"home": section})
    assert (found.connection, found.identity, found.peer) == ("home", "ha.home.example", IPv6Address(AGENT))
    assert (found.own_addresses, found.peer_addresses, found.children) == ((IPv6Address(HOME),), (), frozenset())


def test_an_eap_identity_that_is_not_the_ike_identity_counts() -> None:
    [found] = associations({"mns": {**SECTION, "remote-id": b"anything", "remote-eap-id": b"mn9@home.example"}})
    assert found.identity == "mn9@home.example"


@pytest.mark.parametrize(
    ("state", "carries"),
    [(b"INSTALLED", True), (b"REKEYING", True), (b"REKEYED", True), (b"DELETED", False), (b"CREATED", False)],
)
def test_children_that_may_carry_packets(state: bytes, carries: bool) -> None:
    child = {**SECTION["child-sas"]["home-sa-15"], "state": state}
    [found] = associations({"mns": {**SECTION, "child-sas": {"home-sa-15": child}}})
    assert found.children == (frozenset({15}) if carries else frozenset())


@pytest.mark.parametrize("state", [b"CONNECTING", b"CREATED", b"DELETING", b"REKEYED"])
def test_associations_that_are_not_established_are_none(state: bytes) -> None:
    assert associations({"mns": {**SECTION, "state": state}}) == []


def test_several_associations_of_one_connection() -> None:
    other = {**SECTION, "uniqueid": b"17", "remote-id": b"mn2@home.example"}
    assert [a.number for a in associations({"mns": SECTION}, {"mns": other})] == [16, 17]


def test_octets_become_text_all_the_way_down() -> None:
    value = {b"key": [b"text", {b"inner": b"\xff"}], "number": 7}
    assert charon._text(value) == {"key": ["text", {"inner": "\\xff"}], "number": 7}


def test_an_association_comes_up() -> None:
    assert notice("ike-updown", {"up": b"yes", "mns": SECTION}) == Notice("ike-updown", ASSOCIATION, up=True)


def test_an_association_goes_down() -> None:
    down = {"mns": {**SECTION, "state": b"DELETING"}}  # "up" is there only when it is "yes"
    assert notice("ike-updown", down) == Notice("ike-updown", ASSOCIATION, up=False)


def test_a_child_comes_up_and_goes_down() -> None:
    assert notice("child-updown", {"up": b"yes", "mns": SECTION}) == Notice("child-updown", ASSOCIATION, up=True)
    assert notice("child-updown", {"mns": SECTION}) == Notice("child-updown", ASSOCIATION, up=False)


def test_the_peer_moves() -> None:
    message = {"local-host": AGENT.encode(), "remote-host": MOVED.encode(), "remote-port": b"4500", "mns": SECTION}
    found = notice("ike-update", message)
    assert found == Notice("ike-update", ASSOCIATION, up=True, new_peer=IPv6Address(MOVED))
    assert charon.moved(ASSOCIATION, IPv6Address(MOVED)).peer == IPv6Address(MOVED)


@pytest.mark.parametrize("tasks", ["tasks-active", "tasks-queued"])
def test_an_association_is_on_its_way(tasks: str) -> None:
    moving = notice("ike-update", {"mns": {**SECTION, tasks: [b"IKE_DPD", b"IKE_MOBIKE"]}})
    assert moving
    assert moving.association.moving
    other = notice("ike-update", {"mns": {**SECTION, tasks: [b"CHILD_REKEY"], "tasks-passive": [b"IKE_MOBIKE"]}})
    assert other
    assert not other.association.moving


def test_what_comes_before_an_association_is_established_means_nothing() -> None:
    unnamed = {**SECTION, "state": b"CONNECTING", "remote-id": b"%any"}
    assert notice("ike-update", {"remote-host": MOVED.encode(), "(unnamed)": unnamed}) is None
    assert notice("ike-updown", {"up": b"yes"}) is None
    assert notice("log", {}) is None


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (
            lambda c: c.trust("PEM"),
            ("load_cert", {"type": "X509", "flag": "CA", "data": b"PEM"}),
        ),
        (lambda c: c.private_key("PEM"), ("load_key", {"type": "any", "data": b"PEM"})),
        (
            lambda c: c.password("mn1@corp.example", "secret"),
            (
                "load_shared",
                {"id": "mn1@corp.example", "type": "EAP", "data": b"secret", "owners": ["mn1@corp.example"]},
            ),
        ),
        (lambda c: c.load("home", {"version": "2"}), ("load_conn", {"home": {"version": "2"}})),
        (lambda c: c.terminate(7), ("terminate", {"ike-id": "7", "timeout": "3000"})),
    ],
)
def test_what_is_asked(ask: Callable[[Charon], Any], asked: tuple[str, Any]) -> None:
    session = Session()
    wait_for(ask(Charon(session, "")))
    assert session.asked == [asked]


def test_a_command_that_charon_refuses() -> None:
    session = Session(load_conn=vici.exception.CommandException("parsing proposals failed"))
    with pytest.raises(IkeError, match=r"^parsing proposals failed$"):
        wait_for(Charon(session, "").load("home", {}))


def test_a_charon_that_is_gone() -> None:
    with pytest.raises(IkeError, match="charon does not answer: gone"):
        wait_for(Charon(Session(load_cert=OSError("gone")), "").trust("PEM"))


def test_to_end_an_association_that_is_gone_is_no_error() -> None:
    wait_for(Charon(Session(terminate=vici.exception.CommandException("no matching SAs")), "").terminate(7))


def connected(monkeypatch: pytest.MonkeyPatch, session: Session) -> Charon:
    """Give a charon to which every further connection is this session."""
    monkeypatch.setattr(charon, "_connect", lambda _path: session)
    return Charon(Session(), "vici")


def test_initiate(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(initiate=iter([{"group": b"IKE", "msg": b"initiating"}]))
    wait_for(connected(monkeypatch, session).initiate("home", "child", deadline=1.5))
    assert session.asked == [("initiate", {"ike": "home", "timeout": "1500", "loglevel": "1", "child": "child"})]
    assert session.closed == 1


def test_initiate_without_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(initiate=iter([]))
    wait_for(connected(monkeypatch, session).initiate("home", deadline=20))
    assert session.asked == [("initiate", {"ike": "home", "timeout": "20000", "loglevel": "1"})]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (vici.exception.CommandException("establishing failed"), "establishing failed"),
        (ConnectionResetError(104, "reset"), r"charon went away: \[Errno 104\] reset"),
    ],
)
def test_a_failure_carries_what_charon_logged(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    log = [{"group": b"IKE", "level": b"1", "msg": b"EAP method failed"}, {"msg": b"\xff"}, {}]
    session = Session(initiate=failing(*log, error=error))
    with pytest.raises(IkeError, match=f"^{message}$") as caught:
        wait_for(connected(monkeypatch, session).initiate("home", deadline=1))
    assert caught.value.evidence == ("[IKE] EAP method failed", "[?] \\xff", "[?] ")


def test_charon_notices_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def log() -> Iterator[Any]:
        order.append("listening")
        yield None, None  # nothing was logged within the timeout
        yield b"log", {"group": b"KNL", "msg": b"something else"}
        yield b"log", {"group": b"KNL", "msg": f"{HOME} appeared on lo".encode()}
        order.append("too far")

    ours = connected(monkeypatch, Session(listen=log()))
    wait_for(ours.appears(IPv6Address(HOME), lambda: order.append("changed")))
    assert order == ["listening", "changed"]


def test_charon_does_not_notice_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def log() -> Iterator[Any]:
        while True:
            yield b"log", {"msg": b"2001:db8::7 appeared on eth0"}

    monkeypatch.setattr(charon, "_NOTICE_DEADLINE", 0.01)
    with pytest.raises(IkeError, match=f"charon did not notice within 0.01 s: {HOME} appeared on") as caught:
        wait_for(connected(monkeypatch, Session(listen=log())).appears(IPv6Address(HOME), lambda: None))
    assert caught.value.evidence == ("2001:db8::7 appeared on eth0",) * 5


def test_a_charon_that_goes_away_while_an_address_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    log = failing((b"log", {"msg": b"the last words"}), error=ConnectionResetError(104, "reset"))
    with pytest.raises(IkeError, match="charon went away") as caught:
        wait_for(connected(monkeypatch, Session(listen=log)).appears(IPv6Address(HOME), lambda: None))
    assert caught.value.evidence == ("the last words",)


def test_notices_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def log() -> Iterator[Any]:
        yield b"ike-update", {"(unnamed)": {**SECTION, "state": b"CONNECTING"}}
        yield b"ike-updown", {"up": b"yes", "mns": SECTION}
        go_on.wait(5)
        yield b"ike-updown", {"mns": SECTION}

    async def scenario() -> list[Notice]:
        ours = connected(monkeypatch, Session(listen=log()))
        found = []
        async with aclosing(ours.notices()) as notices:  # type: ignore[type-var]
            async for entry in notices:
                found.append(entry)
                go_on.set()
                if len(found) == 2:
                    break
        return found

    assert [entry.up for entry in wait_for(scenario())] == [True, False]


def test_reach_waits_for_a_charon_that_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario() -> Charon:
        reaching = asyncio.create_task(Charon.reach("vici"))
        await asyncio.sleep(0.01)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("vici")
            server.listen()
            ours = await reaching
            ours._session.transport.close()
            return ours

    assert isinstance(wait_for(scenario()), Charon)


def test_reach_of_a_charon_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charon, "_START_DEADLINE", 0.01)
    with pytest.raises(NotReadyError, match="charon answers") as caught:
        wait_for(Charon.reach(str(tmp_path / "vici")))
    assert "No such file or directory" in caught.value.evidence[0]


def test_connections_of_both_ends_fit() -> None:
    mobile = charon.mobile_node(
        nai="mn1@corp.example", peer=IPv6Address(AGENT), peer_name="ha1.carrier.example", children={}
    )
    agent = charon.home_agent(address=IPv6Address(AGENT), name="ha1.carrier.example", certificate="PEM")
    assert mobile["remote"]["id"] == agent["local"]["id"]
    assert mobile["remote_addrs"] == agent["local_addrs"] == [AGENT]
    assert mobile["proposals"] == agent["proposals"]
    assert (mobile["childless"], mobile["vips"]) == ("force", ["::"])
    assert (mobile["remote"]["auth"], agent["local"]["auth"]) == ("pubkey", "pubkey")  # RFC 4877 section 9
    assert agent["children"][charon.CHILD]["remote_ts"] == ["dynamic"]
    assert charon.tunnel(local=["a"], remote=["b"])["mode"] == "tunnel"
