"""Protection ``tunnel`` by the ESP of a kernel: played in a guest that has one, judged here by what it left behind."""

from __future__ import annotations

import csv
import json
import struct
import sys
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guest
import pytest

from testbed.mip6 import wire
from testbed.topology.load import load
from testbed.topology.plan import Esp, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.uml

DEADLINE = 300.0  # seconds; an idle machine needs about 50
SCENARIO = str(Path(__file__).with_name("scenario.py"))
CORRESPONDENT = IPv6Address("2001:db8:1::2")
UDP, ESP, ICMPV6 = 17, 50, 58
ECHO_REQUEST, ECHO_REPLY = 128, 129
IKE = (500, 4500)
_RECORD = struct.Struct("=IIII")


@dataclass(frozen=True)
class Frame:
    """What a capture has of one IPv6 packet."""

    sender: str
    receiver: str
    packet: wire.IPv6Packet

    @property
    def ends(self) -> tuple[IPv6Address, IPv6Address]:
        return self.packet.source, self.packet.destination

    @property
    def ports(self) -> tuple[int, int]:
        return int.from_bytes(self.packet.payload[:2], "big"), int.from_bytes(self.packet.payload[2:4], "big")


class Played:
    """What the guest left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.results: dict[str, Any] = json.loads((folder / "results.json").read_text())
        self.away: dict[str, Any] = self.results["away"]
        self.home = IPv6Address(self.away["bootstrapped"]["home_address"])
        self.agent = IPv6Address(self.away["bootstrapped"]["home_agent_address"])
        self.care_of = [IPv6Address(self.away[part]["care_of_address"]) for part in ("bootstrapped", "moved")]

    @cached_property
    def visited(self) -> list[Frame]:
        """What passed between the access networks and the core."""
        return self.capture("visited")

    @cached_property
    def carrier(self) -> list[Frame]:
        """What passed between the home agent's operator and the core."""
        return self.capture("carrier")

    def capture(self, name: str) -> list[Frame]:
        report = (self._folder / f"{name}.txt").read_text()
        assert "0 packets dropped by kernel" in report
        return list(_frames((self._folder / f"{name}.pcap").read_bytes()))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("guest")
    ended = guest.boot(folder, [sys.executable, SCENARIO], deadline=DEADLINE)
    assert ended.status == 0, f"{ended.output}\nlogs are in {folder}"
    return Played(folder)


def test_the_kernel_has_esp(played: Played) -> None:
    doctor = played.results["doctor"]
    features = {feature["name"]: feature for feature in doctor["features"]}
    assert features["ESP"]["found"] == "works"
    assert doctor["protections"]["tunnel"] == ""
    assert doctor["scenarios"]["third-party"] == ""
    assert played.results["esp"] == Esp.KERNEL


def test_both_ends_agree_on_the_binding_before_and_after_a_move(played: Played) -> None:
    bindings = [played.away[part]["binding"] for part in ("first", "second")]
    assert [binding["state"] for binding in bindings] == ["registered"] * 2
    assert [binding["disagreement"] for binding in bindings] == [""] * 2
    assert [IPv6Address(binding["care_of_address"]) for binding in bindings] == played.care_of
    assert len(set(played.care_of)) == 2


def test_traffic_passes_both_ways(played: Played) -> None:
    results = played.results
    parts = (played.away["first"], played.away["second"], results["forged"])
    later = (results["home_and_away"]["at_home"], results["home_and_away"]["elsewhere"])
    assert [part["echoes"] for part in (*parts, *later)] == [{"there": True, "back": True}] * 5


def test_esp_is_on_the_wire_as_it_is_and_nothing_is_in_udp_but_ike(played: Played) -> None:
    """There is no NAT between them."""
    esp = {frame.ends for frame in played.visited if frame.packet.next_header == ESP}
    assert esp == {ends for care_of in played.care_of for ends in ((care_of, played.agent), (played.agent, care_of))}
    ike = [f for f in played.visited if f.packet.next_header == UDP and set(f.ports) & set(IKE)]
    assert ike
    for frame in ike:
        # what stands where an ESP packet has its SPI: RFC 3948 section 2.2
        assert IKE[0] in frame.ports or frame.packet.payload[8:12] == bytes(4)


def test_a_move_keeps_the_security_associations(played: Played) -> None:
    before, after = played.away["first"]["spis"], played.away["second"]["spis"]
    assert len(before) == 2
    assert before == after
    seen = {f"0x{frame.packet.payload[:4].hex()}" for frame in played.visited if frame.packet.next_header == ESP}
    assert seen == set(before)


def test_no_binding_update_is_sent_twice(played: Played) -> None:
    """One for the bootstrap, one for the move, and their answers: what the kernel encrypts at once it loses none of."""
    assert played.away["moved"]["seconds"] < 0.9  # a Binding Update is repeated after a second
    assert played.away["bootstrapped"]["seconds"] < 0.9


def test_no_mobility_header_is_in_clear(played: Played) -> None:
    for frames in (played.visited, played.carrier):
        assert len(frames) > 20
        assert [frame for frame in frames if frame.packet.next_header == wire.MOBILITY] == []


def test_the_home_address_is_nowhere_in_clear_between_mobile_node_and_home_agent(played: Played) -> None:
    assert [frame for frame in played.visited if played.home in frame.ends] == []


def test_traffic_goes_through_the_home_agent(played: Played) -> None:
    topology = load(guest.PROJECT / "topologies" / "third-party.yaml")
    plan = make_plan(topology, {}, Esp.KERNEL)
    home_agent = next(leg.mac for leg in plan.hosts["ha1"].legs if leg.network == "carrier")
    clear = [frame for frame in played.carrier if played.home in frame.ends]
    assert {frame.packet.next_header for frame in clear} == {ICMPV6}
    for frame in clear:
        from_home = frame.packet.source == played.home
        assert (frame.sender if from_home else frame.receiver) == home_agent
        assert frame.ends == ((played.home, CORRESPONDENT) if from_home else (CORRESPONDENT, played.home))
    kinds = {(frame.packet.source, frame.packet.payload[0]) for frame in clear}
    assert kinds == {(end, kind) for end in (played.home, CORRESPONDENT) for kind in (ECHO_REQUEST, ECHO_REPLY)}


def test_a_forged_binding_update_in_clear_changes_nothing(played: Played) -> None:
    before, after = (played.results["forged"][part] for part in ("before", "after"))
    assert after["disagreement"] == ""
    assert {k: v for k, v in before.items() if k != "remaining"} == {k: v for k, v in after.items() if k != "remaining"}


def test_a_tunnel_without_a_binding_carries_nothing(played: Played) -> None:
    unbound = played.results["unbound"]
    assert unbound["spis"] == played.away["second"]["spis"]
    assert unbound["echoes"] == {"there": False, "back": False}
    assert unbound["reverse"] > 0
    assert unbound["forward"] > 0


def test_without_a_security_association_nothing_leaves_in_clear(played: Played) -> None:
    without = played.results["without_association"]
    assert without["echoes"] == {"there": False, "back": False}
    assert without["dropped"] > 0
    assert [frame for frame in played.capture("without-association") if played.home in frame.ends] == []


def test_at_home_there_is_no_tunnel(played: Played) -> None:
    told = played.results["home_and_away"]
    assert told["home"]["at_home"] is True
    assert told["at_home"]["binding"]["state"] == "at home"
    assert told["at_home"]["spis"] == []
    assert told["elsewhere"]["binding"]["state"] == "registered"
    assert len(told["elsewhere"]["spis"]) == 2


def test_after_a_deregistration_nothing_is_left(played: Played) -> None:
    end = played.results["home_and_away"]["end"]
    assert (end["binding"]["state"], end["binding"]["home_address"]) == ("idle", None)
    assert (end["spis"], end["addresses"]) == ([], "")
    assert played.results["down"] == {"lab": "uml", "removed": True}
    assert played.results["left"] == []


def test_the_octets_of_the_tunnel_are_accounted_for(played: Played) -> None:
    columns = ("time", "status", "user", "session", "nas", "home", "care-of", "seconds", "in", "out", "cause")
    rows = [dict(zip(columns, row, strict=True)) for row in csv.reader(played.results["accounting"])]
    stops = [row for row in rows if row["status"] == "stop"]
    assert len(stops) == 3
    for row in stops:
        assert int(row["in"]) > 0
        assert int(row["out"]) > 0


def test_a_guest_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(guest.GuestError, match=r"the guest did not end within 5 s\n"):
        guest.boot(tmp_path, ["sleep", "60"], deadline=5)


def test_the_status_and_the_output_of_a_command_come_out(tmp_path: Path) -> None:
    ended = guest.boot(tmp_path, ["sh", "-c", "echo said; echo written > /run/guest/file; exit 3"], deadline=60)
    assert (ended.status, ended.output.splitlines()[-1]) == (3, "said")
    assert (tmp_path / "file").read_text() == "written\n"


def _frames(octets: bytes) -> Iterator[Frame]:
    """Read a capture on Ethernet."""
    at = 24
    while at + _RECORD.size <= len(octets):
        length = _RECORD.unpack_from(octets, at)[2]
        frame = octets[at + _RECORD.size : at + _RECORD.size + length]
        if len(frame) == length and frame[12:14] == b"\x86\xdd":
            receiver, sender = (frame[start : start + 6].hex(":") for start in (0, 6))
            yield Frame(sender, receiver, wire.walk(frame[14:]))
        at += _RECORD.size + length
