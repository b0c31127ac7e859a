"""What a home agent is sent, and what RFC 6275 demands for it: one table for whoever sends and whoever checks.

A case starts from a known state of one home address (``before``), sends its stimuli one after the other, and names for
each the answer, then the care-of address that is bound in the end. Sequence numbers are relative to the last one that
the home agent accepted, so that the table does not depend on what was sent before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from testbed.mip6 import wire
from testbed.mip6.wire import BindingFlags as Flag
from testbed.mip6.wire import BindingStatus as Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = Flag.A | Flag.H
UNITS = 15  # a minute
LONGEST_UNITS = 900  # what the home agent's policy grants at most: an hour


class Place(Enum):
    """Addresses by the part that they play."""

    MINE = auto()  #: the home address of the mobile node
    STRANGER = auto()  #: of the home prefix, but nobody's
    AGENT = auto()  #: the home agent's own
    FOREIGN = auto()  #: routable, of another prefix
    HERE = auto()  #: the care-of address that packets come from
    THERE = auto()  #: another care-of address


@dataclass(frozen=True)
class Update:
    """A Binding Update: ``mangle`` changes its octets, the checksum is made right again unless ``spoil`` is set."""

    advance: int = 1
    flags: Flag = HOME
    units: int = UNITS
    home: Place | str = Place.MINE
    alternate: Place | str | None = None
    options: tuple[wire.Option, ...] = ()
    mangle: Callable[[bytearray], bytearray | None] | None = None
    spoil: bool = False
    option: bool = True  #: the packet has a Home Address option


@dataclass(frozen=True)
class Ack:
    """A Binding Acknowledgement; ``last`` means that it carries the last accepted sequence number, not the update's."""

    status: Status
    units: int | None = None
    last: bool = False


@dataclass(frozen=True)
class Failure:
    """A Binding Error."""

    status: wire.BindingErrorStatus
    home: Place | str = Place.MINE


@dataclass(frozen=True)
class Problem:
    """An ICMPv6 Parameter Problem of code 0 that points to an octet of the Mobility Header."""

    offset: int


@dataclass(frozen=True)
class Silence:
    """Nothing."""


Answer = Ack | Failure | Problem | Silence


@dataclass(frozen=True)
class Case:
    """One case; ``after`` is the care-of address that is bound in the end, None for no binding."""

    name: str
    section: str
    steps: tuple[tuple[Update, Answer], ...]
    before: Place | None = None
    after: Place | None = None
    tags: frozenset[str] = field(default_factory=frozenset)


ACCEPTED = Ack(Status.ACCEPTED, UNITS)
SILENT = Silence()
DELETED = Ack(Status.ACCEPTED, 0)
_DELETE = Update(units=0)


def _one(update: Update, answer: Answer) -> tuple[tuple[Update, Answer], ...]:
    return ((update, answer),)


def cases() -> list[Case]:
    """Return all cases, each with a name of its own."""
    return [
        *_registrations(),
        *_sequences(),
        *_lifetimes(),
        *_flags(),
        *_home_addresses(),
        *_care_of_addresses(),
        *_deletions(),
        *_malformed(),
        *_options(),
        *_unknown_types(),
        *_other_messages(),
    ]


def _registrations() -> Iterator[Case]:
    yield Case("a first registration is accepted", "10.3.1", ((Update(), ACCEPTED),), after=Place.HERE)
    yield Case("a refresh is accepted", "10.3.1", ((Update(), ACCEPTED),), before=Place.HERE, after=Place.HERE)
    yield Case(
        "a move is accepted",
        "10.3.1",
        ((Update(alternate=Place.THERE), ACCEPTED),),
        before=Place.HERE,
        after=Place.THERE,
    )
    yield Case(
        "a move and back is accepted",
        "10.3.1",
        ((Update(alternate=Place.THERE), ACCEPTED), (Update(alternate=Place.HERE), ACCEPTED)),
        before=Place.HERE,
        after=Place.HERE,
    )
    yield Case(
        "an Alternate Care-of Address that says what the source says changes nothing",
        "6.2.5",
        ((Update(alternate=Place.HERE), ACCEPTED),),
        after=Place.HERE,
    )
    yield Case(
        "a registration right after a deletion is accepted",
        "10.3.2",
        ((_DELETE, DELETED), (Update(), ACCEPTED)),
        before=Place.HERE,
        after=Place.HERE,
    )


def _sequences() -> Iterator[Case]:
    """The window of section 9.5.1: one half of all numbers follows the last, the other does not."""
    for advance in (1, 2, 255, 4096, 16384, 32766, 32767):
        step = _one(Update(advance=advance), ACCEPTED)
        yield Case(f"sequence number last + {advance} is new", "9.5.1", step, before=Place.HERE, after=Place.HERE)
    for advance in (0, 32768, 32769, 49152, 65534, 65535):
        step = _one(Update(advance=advance), Ack(Status.SEQUENCE_NUMBER_OUT_OF_WINDOW, 0, last=True))
        yield Case(f"sequence number last + {advance} is old", "9.5.1", step, before=Place.HERE, after=Place.HERE)
    for advance in (1, 32767):
        step = _one(Update(advance=advance, alternate=Place.THERE), ACCEPTED)
        name = f"a move with sequence number last + {advance} is new"
        yield Case(name, "9.5.1", step, before=Place.HERE, after=Place.THERE)
    old = Ack(Status.SEQUENCE_NUMBER_OUT_OF_WINDOW, 0, last=True)
    yield Case(
        "an old sequence number moves nothing",
        "9.5.1",
        ((Update(advance=0, alternate=Place.THERE), old),),
        before=Place.HERE,
        after=Place.HERE,
    )
    yield Case(
        "an old sequence number deletes nothing",
        "9.5.1",
        ((Update(advance=0, units=0), old),),
        before=Place.HERE,
        after=Place.HERE,
    )
    yield Case(
        "the last sequence number is remembered after a deletion",
        "10.3.2",
        ((_DELETE, DELETED), (Update(advance=0), old)),
        before=Place.HERE,
    )
    yield Case(
        "a refused number does not become the last one",
        "9.5.1",
        ((Update(advance=40000), old), (Update(advance=1), ACCEPTED)),
        before=Place.HERE,
        after=Place.HERE,
    )


def _lifetimes() -> Iterator[Case]:
    for units, granted in ((1, 1), (2, 2), (UNITS, UNITS), (LONGEST_UNITS, LONGEST_UNITS)):
        step = _one(Update(units=units), Ack(Status.ACCEPTED, granted))
        yield Case(f"a lifetime of {units} units is granted", "10.3.1", step, after=Place.HERE)
    for units in (LONGEST_UNITS + 1, 32768, 65535):
        step = _one(Update(units=units), Ack(Status.ACCEPTED, LONGEST_UNITS))
        yield Case(f"a lifetime of {units} units is cut to what the policy grants", "10.3.1", step, after=Place.HERE)


def _flags() -> Iterator[Case]:
    yield Case(
        "a home registration is acknowledged without A too",
        "10.3.1",
        ((Update(flags=Flag.H), ACCEPTED),),
        after=Place.HERE,
    )
    for flag in (Flag.L, Flag.K, Flag.M, Flag.R, Flag.P, Flag.F, Flag.T, Flag.B):
        step = _one(Update(flags=HOME | flag), ACCEPTED)
        yield Case(f"flag {flag.name} does not hinder a registration", "6.1.7", step, after=Place.HERE)
    yield Case(
        "reserved flag bits are ignored", "6.1.7", ((Update(flags=HOME | Flag(0x003F)), ACCEPTED),), after=Place.HERE
    )
    correspondent = Ack(Status.HOME_REGISTRATION_NOT_SUPPORTED, 0)
    yield Case(
        "without H it would be a correspondent registration: refused",
        "10.3.1",
        ((Update(flags=Flag.A), correspondent),),
    )
    yield Case(
        "a home registration does not become a correspondent registration",
        "9.5.1",
        ((Update(flags=Flag.A), Ack(Status.REGISTRATION_TYPE_CHANGE_DISALLOWED, 0)),),
        before=Place.HERE,
        after=Place.HERE,
    )


def _home_addresses() -> Iterator[Case]:
    for home in ("::1", "fe80::1", "ff02::1", "::ffff:192.0.2.1"):
        step = _one(Update(home=home, alternate=Place.HERE), SILENT)
        yield Case(f"{home} is no home address: silence", "9.5.1", step)
    yield Case("a home address of nobody: silence", "10.3.1", ((Update(home=Place.STRANGER), SILENT),))
    yield Case("a home address of another network: silence", "10.3.1", ((Update(home=Place.FOREIGN), SILENT),))
    yield Case("the home agent's own address: silence", "10.3.1", ((Update(home=Place.AGENT), SILENT),))
    yield Case(
        "nobody's update does not touch a binding",
        "10.3.1",
        ((Update(home=Place.STRANGER, units=0), SILENT),),
        before=Place.HERE,
        after=Place.HERE,
    )


def _care_of_addresses() -> Iterator[Case]:
    for care_of in ("::", "::1", "ff02::1", "ff0e::1", "fe80::1"):
        step = _one(Update(alternate=care_of), SILENT)
        yield Case(f"{care_of} is no care-of address: silence", "6.1.7", step)
        name = f"a move to {care_of} is met with silence"
        yield Case(name, "6.1.7", step, before=Place.HERE, after=Place.HERE)
    step = _one(Update(alternate=Place.MINE), Ack(Status.INVALID_CARE_OF_ADDRESS, 0))
    yield Case("a binding to the home address itself is refused", "9.5.1", step)


def _deletions() -> Iterator[Case]:
    yield Case("a deletion is acknowledged with lifetime 0", "10.3.2", ((_DELETE, DELETED),), before=Place.HERE)
    yield Case(
        "a deletion from another care-of address deletes",
        "10.3.2",
        ((Update(units=0, alternate=Place.THERE), DELETED),),
        before=Place.HERE,
    )
    yield Case(
        "a deletion from the home address deletes",
        "10.3.2",
        ((Update(units=0, alternate=Place.MINE), DELETED),),
        before=Place.HERE,
    )
    yield Case(
        "a repeated deletion is acknowledged while it is remembered",
        "10.3.2",
        ((_DELETE, DELETED), (_DELETE, DELETED)),
        before=Place.HERE,
    )


def _set(offset: int, value: int) -> Callable[[bytearray], None]:
    def change(octets: bytearray) -> None:
        octets[offset] = value

    return change


def _cut(length: int) -> Callable[[bytearray], bytearray]:
    def change(octets: bytearray) -> bytearray:
        return octets[:length]

    return change


def _malformed() -> Iterator[Case]:
    yield Case("a wrong checksum: silence", "9.2", ((Update(spoil=True), SILENT),))
    yield Case(
        "a wrong checksum does not touch a binding",
        "9.2",
        ((Update(spoil=True, units=0), SILENT),),
        before=Place.HERE,
        after=Place.HERE,
    )
    for proto in (0, 6, 17, 58, 135, 255):
        step = _one(Update(mangle=_set(0, proto)), Problem(0))
        yield Case(f"Payload Proto {proto} is a problem", "9.2", step)
    step = _one(Update(mangle=_short), Problem(1))
    yield Case("a Header Len too small for a Binding Update is a problem", "9.2", step)
    yield Case("a Header Len beyond the packet: silence", "9.2", ((Update(mangle=_set(1, 200)), SILENT),))
    for length in (1, 2, 4, 6, 7):
        step = _one(Update(mangle=_cut(length), spoil=True), SILENT)
        yield Case(f"a packet of {length} octets: silence", "9.2", step)


def _short(octets: bytearray) -> bytearray:
    """Leave the first 8 octets, and say so in the header."""
    octets[1] = 0
    return octets[:8]


def _options() -> Iterator[Case]:
    for code in (30, 99, 127, 128, 254, 255):
        options = (wire.UnknownOption(code, b"\x00" * 6),)
        step = _one(Update(options=options), ACCEPTED)
        yield Case(f"mobility option {code}, unknown, is skipped", "6.2.1", step, after=Place.HERE)
    yield Case(
        "a nonce index has no place in a home registration: silence",
        "9.5.1",
        ((Update(options=(wire.NonceIndices(1, 2),)), SILENT),),
    )
    yield Case(
        "an identifier of the mobile node does no harm",
        "RFC 4283",
        ((Update(options=(wire.MobileNodeIdentifier(b"mn1@carrier.example"),)), ACCEPTED),),
        after=Place.HERE,
    )
    yield Case(
        "advice to refresh has no meaning in a Binding Update",
        "6.2.4",
        ((Update(options=(wire.BindingRefreshAdvice(5),)), ACCEPTED),),
        after=Place.HERE,
    )
    yield Case(
        "an option that is longer than the message: silence",
        "6.2.1",
        ((Update(options=(wire.UnknownOption(99, b"\x00" * 6),), mangle=_set(13, 250)), SILENT),),
    )


def _unknown_types() -> Iterator[Case]:
    for kind in (8, 11, 14, 24, 100, 200, 254, 255):
        step = _one(Update(mangle=_set(2, kind)), Failure(wire.BindingErrorStatus.UNRECOGNIZED_TYPE))
        yield Case(f"message type {kind}, unknown, is answered by a Binding Error", "9.2", step)
    without = Failure(wire.BindingErrorStatus.UNRECOGNIZED_TYPE, "::")
    step = _one(Update(mangle=_set(2, 250), option=False, home=Place.HERE), without)
    yield Case("without a Home Address option the Binding Error names no home address", "9.3.3", step)


def _other_messages() -> Iterator[Case]:
    for kind, name in ((0, "Binding Refresh Request"), (6, "Binding Acknowledgement"), (7, "Binding Error")):
        size = {0: 8, 6: 16, 7: 24}[kind]
        step = _one(Update(mangle=_become(kind, size)), SILENT)
        yield Case(f"a {name} is nothing for a home agent: silence", "9.2", step)


def _become(kind: int, size: int) -> Callable[[bytearray], bytearray]:
    def change(octets: bytearray) -> bytearray:
        fresh = bytearray(size)
        fresh[0], fresh[1], fresh[2] = octets[0], size // 8 - 1, kind
        if kind == 6:  # padding up to the multiple of 8
            fresh[12:14] = b"\x01\x02"
        return fresh

    return change
