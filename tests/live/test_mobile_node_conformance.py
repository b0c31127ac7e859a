"""RFC 6275 section 11, case by case, against the running mobile node: a home agent's part is played by the test.

The home agent's process is stopped, and the test sends from its node what each case wants. What a mobile node must
ignore is followed by a proper answer: had the first been believed, the outcome would be another.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from lab import FAST, PROJECT, command_line, needs_root

from testbed.bootstrap import agent_socket
from testbed.errors import TestbedError
from testbed.lab import Lab
from testbed.mip6 import wire
from testbed.mip6.control import result_of
from testbed.mip6.wire import BindingStatus as Status
from testbed.netlink import in_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv6Address

pytestmark = [pytest.mark.live, needs_root]

LAB = "mnrfc"
UNPROTECTED = PROJECT / "topologies" / "unprotected.yaml"
UNITS = 100  # what is granted, so that it can be told from what is asked for
OTHER_UNITS = 50  # what a forged answer grants
NUMBERS = 1 << 16
DEADLINE = 20.0
_IPV6_HDRINCL, _ETH_P_ALL, _ETH_P_IPV6 = 36, 3, 0x86DD
AWAY = wire.BindingFlags.A | wire.BindingFlags.H


@dataclass(frozen=True)
class Sent:
    """A Mobility Header that the mobile node sent."""

    message: wire.Message
    packet: wire.IPv6Packet
    at: float

    @property
    def update(self) -> wire.BindingUpdate:
        assert isinstance(self.message, wire.BindingUpdate)
        return self.message


class Play:
    """A home agent as the test plays it."""

    def __init__(self, lab: Lab) -> None:
        plan = lab.plan
        self.agent = plan.home_agent_address(plan.hosts["ha1"])
        self.stranger = plan.hosts["ha1"].legs[0].address
        self.home = plan.subscribers["mn1"].home_address
        self.care_of: IPv6Address | None = None
        self._control = agent_socket(lab.room("mn1"))
        self._thread: threading.Thread | None = None
        self._outcome: Any = None
        with in_namespace(lab.room("ha1").init.pid):
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._out.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)

    def close(self) -> None:
        self._out.close()
        self._in.close()

    def begin(self) -> Sent:
        """Have the mobile node bootstrap, and give its first registration; what it deletes before is acknowledged."""

        def ask() -> None:
            try:
                self._outcome = asyncio.run(result_of(self._control, {"op": "bootstrap"}, where="mn1"))
            except TestbedError as error:
                self._outcome = error

        self._thread = threading.Thread(target=ask)
        self._thread.start()
        while (sent := self.next()).update.lifetime_units == 0:
            self.answer(sent)
        return sent

    def next(self) -> Sent:
        """Give the next Binding Update that the mobile node sends."""
        while not isinstance((sent := self.next_message()).message, wire.BindingUpdate):
            pass
        return sent

    def register(self) -> Sent:
        """Have it register, properly."""
        sent = self.begin()
        self.answer(sent)
        assert self.accepted()
        return sent

    def next_message(self) -> Sent:
        """Give the next Mobility Header that the mobile node sends."""
        end = time.monotonic() + DEADLINE
        while True:
            self._in.settimeout(max(0.001, end - time.monotonic()))
            octets, (_, protocol, kind, _, _) = self._in.recvfrom(65535)
            if protocol != _ETH_P_IPV6 or kind == socket.PACKET_OUTGOING:
                continue
            packet = wire.walk(octets)
            if packet.next_header == wire.MOBILITY and packet.destination == self.agent:
                message = wire.decode(packet.payload, packet.upper_source, packet.upper_destination)
                self.care_of = packet.source
                return Sent(message, packet, time.monotonic())

    def answer(
        self, sent: Sent, status: int = Status.ACCEPTED, *, advance: int = 0, units: int = UNITS, **how: Any
    ) -> None:
        """Acknowledge an update; ``advance`` is added to its sequence number."""
        update = sent.update
        granted = units if status < 128 and update.lifetime_units else 0
        options = how.pop("options", ())
        number = (update.sequence + advance) % NUMBERS
        self.send(wire.BindingAcknowledgement(status, wire.AckFlags(0), number, granted, options), **how)

    def send(
        self,
        message: wire.Message,
        *,
        source: IPv6Address | None = None,
        home: IPv6Address | None = None,
        mangle: Callable[[bytearray], bytearray | None] | None = None,
        spoil: bool = False,
    ) -> None:
        """Send a message by a type 2 routing header."""
        assert self.care_of is not None
        source, home = source or self.agent, home or self.home
        octets = bytearray(wire.encode(message, source, home))
        if mangle:
            octets = mangle(octets) or octets
            octets[4:6] = bytes(2)
            octets[4:6] = struct.pack("!H", wire.checksum(source, home, wire.MOBILITY, bytes(octets)))
        if spoil:
            octets[4] ^= 0xFF
        packet = wire.build(source, self.care_of, wire.MOBILITY, bytes(octets), type2_home_address=home)
        self._out.sendto(packet, (str(self.care_of), 0))

    def outcome(self) -> Any:
        """Give what the bootstrap came to."""
        assert self._thread is not None
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self._outcome

    def accepted(self, units: int = UNITS) -> bool:
        """Whether the mobile node is registered, for as long as was granted."""
        outcome = self.outcome()
        if isinstance(outcome, TestbedError):
            raise outcome
        told = asyncio.run(result_of(self._control, {"op": "status"}, where="mn1"))
        return bool(told["state"] == "registered" and abs(told["remaining"] - units * wire.LIFETIME_UNIT) < DEADLINE)

    def refused(self) -> str:
        """Give why the mobile node did not register."""
        outcome = self.outcome()
        assert isinstance(outcome, TestbedError), outcome
        return outcome.message


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    with command_line() as cli:
        cli("up", str(UNPROTECTED), "--lab", LAB, *FAST, "--no-bootstrap")
        cli("exec", "ha1", "--lab", LAB, "--", "pkill", "-STOP", "-f", "testbed.mip6.home_agent")
        play = Play(Lab(LAB, cli.state / LAB, cli.saved(LAB)))
        try:
            yield play
        finally:
            play.close()


def test_a_registration_looks_as_section_11_7_1_wants_it(play: Play) -> None:
    sent = play.begin()
    play.answer(sent)
    assert play.accepted()
    update = sent.update
    assert update.flags == AWAY
    assert update.lifetime_units > 0
    assert sent.packet.home_address_option == play.home
    alternate = wire.option(update, wire.AlternateCareOfAddress)
    assert alternate is not None
    assert alternate.address == sent.packet.source


@pytest.mark.parametrize("status", [0, 2, 63, 127])
def test_each_status_below_128_accepts(play: Play, status: int) -> None:
    """RFC 6275 section 6.1.8."""
    play.answer(play.begin(), status)
    assert play.accepted()


@pytest.mark.parametrize(
    "status", [128, 129, 130, 131, 132, 133, 134, 139, 140, 143, 145, 146, 147, 151, 174, 176, 200, 255]
)
def test_each_status_from_128_refuses_and_is_told(play: Play, status: int) -> None:
    """RFC 6275 section 11.7.3."""
    play.answer(play.begin(), status)
    assert f"status {status}" in play.refused()


@pytest.mark.parametrize("advance", [1, 2, 100, 32767])
def test_a_status_135_makes_it_send_again_at_once_with_a_newer_number(play: Play, advance: int) -> None:
    """RFC 6275 section 11.7.3."""
    first = play.begin()
    play.answer(first, Status.SEQUENCE_NUMBER_OUT_OF_WINDOW, advance=advance)
    again = play.next()
    assert again.update.sequence == (first.update.sequence + advance + 1) % NUMBERS
    assert again.at - first.at < 1
    play.answer(again)
    assert play.accepted()


def test_without_an_answer_it_sends_again_after_one_and_a_half_seconds_with_a_new_number(play: Play) -> None:
    """RFC 6275 section 11.8: InitialBindackTimeoutFirstReg, then doubled."""
    first, second = play.begin(), play.next()
    assert 1.4 < second.at - first.at < 2.5
    assert second.update.sequence == (first.update.sequence + 1) % NUMBERS
    third = play.next()
    assert 2.8 < third.at - second.at < 4.5
    play.answer(third)
    assert play.accepted()


@dataclass(frozen=True)
class Forgery:
    """An answer that a mobile node must not believe, before one that it must."""

    name: str
    section: str
    send: Callable[[Play, Sent], None]


def _set(offset: int, value: int) -> Callable[[bytearray], None]:
    def change(octets: bytearray) -> None:
        octets[offset] = value

    return change


def _lie(play: Play, sent: Sent, **how: Any) -> None:
    play.answer(sent, how.pop("status", Status.ADMINISTRATIVELY_PROHIBITED), units=OTHER_UNITS, **how)


FORGERIES = [
    Forgery("of the next sequence number", "11.7.3", lambda p, s: _lie(p, s, advance=1)),
    Forgery("of the last sequence number", "11.7.3", lambda p, s: _lie(p, s, advance=-1)),
    Forgery("of a far sequence number", "11.7.3", lambda p, s: _lie(p, s, advance=30000)),
    Forgery("that accepts another number", "11.7.3", lambda p, s: _lie(p, s, status=Status.ACCEPTED, advance=5)),
    Forgery("with a wrong checksum", "9.2", lambda p, s: _lie(p, s, spoil=True)),
    Forgery("with a wrong Payload Proto", "9.2", lambda p, s: _lie(p, s, mangle=_set(0, 58))),
    Forgery("with a Header Len too small", "9.2", lambda p, s: _lie(p, s, mangle=_set(1, 0))),
    Forgery("with a Header Len too large", "9.2", lambda p, s: _lie(p, s, mangle=_set(1, 99))),
    Forgery("from somebody else", "11.7.3", lambda p, s: _lie(p, s, source=p.stranger.ip if p.stranger else None)),
    Forgery("for another home address", "6.4", lambda p, s: _lie(p, s, home=type(p.home)(int(p.home) + 1))),
    Forgery(
        "that is 135 with an older number",
        "11.7.3",
        lambda p, s: _lie(p, s, status=Status.SEQUENCE_NUMBER_OUT_OF_WINDOW, advance=-100),
    ),
    Forgery("of an unknown type", "9.2", lambda p, s: _lie(p, s, mangle=_set(2, 200))),
    Forgery(
        "that is a request to refresh before there is a binding",
        "11.7.4",
        lambda p, _: p.send(wire.BindingRefreshRequest()),
    ),
    Forgery(
        "that is an unknown binding before there is one",
        "11.3.6",
        lambda p, _: p.send(wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, p.home)),
    ),
    Forgery(
        "that is a Binding Update",
        "11",
        lambda p, _: p.send(wire.BindingUpdate(1, AWAY, UNITS)),
    ),
]


@pytest.mark.parametrize("forgery", [pytest.param(f, id=f"{f.section}: {f.name}") for f in FORGERIES])
def test_an_answer_is_not_believed(play: Play, forgery: Forgery) -> None:
    sent = play.begin()
    forgery.send(play, sent)
    play.answer(sent)
    assert play.accepted()


@pytest.mark.parametrize(
    "option",
    [
        wire.UnknownOption(99, b"\x00" * 6),
        wire.UnknownOption(200, b""),
        wire.MobileNodeIdentifier(b"mn1@carrier.example"),
        wire.BindingRefreshAdvice(20),
    ],
    ids=lambda option: type(option).__name__ + str(getattr(option, "code", "")),
)
def test_an_option_of_an_acknowledgement_does_no_harm(play: Play, option: wire.Option) -> None:
    """RFC 6275 section 6.2.1."""
    play.answer(play.begin(), options=(option,))
    assert play.accepted()


def test_more_than_it_asked_for_is_not_granted(play: Play) -> None:
    """RFC 6275 section 11.7.3."""
    sent = play.begin()
    play.answer(sent, units=sent.update.lifetime_units + 1000)
    assert play.accepted(sent.update.lifetime_units)


def test_an_acceptance_for_no_time_at_all_is_none(play: Play) -> None:
    play.answer(play.begin(), units=0)
    assert "status 0" in play.refused() or "refused" in play.refused()


def test_a_message_of_an_unknown_type_is_answered_by_a_binding_error(play: Play) -> None:
    """RFC 6275 section 9.2."""
    play.register()
    play.send(wire.BindingRefreshRequest(), mangle=_set(2, 200))
    error = play.next_message()
    assert error.message == wire.BindingError(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, type(play.home)(0))


def test_a_binding_refresh_request_is_followed(play: Play) -> None:
    """RFC 6275 section 11.7.4."""
    first = play.register()
    play.send(wire.BindingRefreshRequest())
    again = play.next()
    assert again.update.sequence == (first.update.sequence + 1) % NUMBERS
    assert again.update.lifetime_units == first.update.lifetime_units
    play.answer(again)


def test_a_home_agent_that_has_forgotten_the_binding_gets_it_again(play: Play) -> None:
    """RFC 6275 section 11.3.6."""
    play.register()
    play.send(wire.BindingError(wire.BindingErrorStatus.UNKNOWN_BINDING, play.home))
    again = play.next()
    assert again.update.lifetime_units > 0
    play.answer(again)


def test_advice_to_refresh_brings_the_next_update_forward(play: Play) -> None:
    """RFC 6275 section 6.2.4: one unit is 4 s."""
    sent = play.begin()
    play.answer(sent, options=(wire.BindingRefreshAdvice(1),))
    assert play.accepted()
    again = play.next()
    assert 3.5 < again.at - sent.at < 6
    play.answer(again)


def test_a_lifetime_of_a_minute_is_refreshed_before_it_ends(play: Play) -> None:
    """RFC 6275 section 11.7.1: two units are 8 s."""
    sent = play.begin()
    play.answer(sent, units=2)
    again = play.next()
    assert 3 < again.at - sent.at < 8
    play.answer(again)
