"""Mutated packets against a running home agent: it stays alive, makes no binding of them, and does not grow.

``FUZZ`` sets how many: ``make fuzz`` sends a million.
"""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rfc6275_cases as cases
from lab import needs_root
from stranger import Stranger, beside_a_home_agent

from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv6Address

pytestmark = [pytest.mark.live, needs_root]

COUNT = int(os.environ.get("FUZZ", "20000"))
SEED = int(os.environ.get("FUZZ_SEED", "4640"))
BATCH = 100  # packets between two that must be answered
GROWTH = 20_000  # kB that a process may grow by: less than what 200,000 remembered packets would take


@pytest.fixture(scope="module")
def tester(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    with beside_a_home_agent(tmp_path_factory.mktemp("fuzz")) as stranger:
        yield stranger


def test_mutated_packets_do_no_harm(tester: Stranger) -> None:
    chance = random.Random(SEED)  # noqa: S311  the same mutants each time
    seeds = [encoded(tester, case) for case in cases.cases()]
    pid = agent(tester)
    tester.bring_to(None)
    before, refused = memory(pid), tester.refused()
    for number in range(COUNT):
        octets = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            mutate(octets, chance)
        home = tester.address(cases.Place.STRANGER)
        if chance.random() < 0.8 and len(octets) >= 6:  # beyond the check of the length
            octets.extend(bytes(-len(octets) % 8))
            octets[1] = min(len(octets) // 8 - 1, 255)
        if chance.random() < 0.9 and len(octets) >= 6:  # beyond the checksum
            octets[4:6] = bytes(2)
            octets[4:6] = struct.pack("!H", wire.checksum(home, tester.agent, wire.MOBILITY, bytes(octets)))
        send(tester, bytes(octets), home)
        if number % BATCH == 0:
            alive(tester)
    alive(tester)
    assert tester.refused() - refused > COUNT // 4  # most get beyond the checksum
    assert tester.bound() is None
    assert agent(tester) == pid
    assert memory(pid) - before < GROWTH


def encoded(tester: Stranger, case: cases.Case) -> bytes:
    """Give the octets of a case's first update, for nobody's home address."""
    update = case.steps[0][0]
    message = wire.BindingUpdate(1, update.flags, update.units, update.options)
    octets = bytearray(wire.encode(message, tester.address(cases.Place.STRANGER), tester.agent))
    return bytes(update.mangle(octets) or octets) if update.mangle else bytes(octets)


def mutate(octets: bytearray, chance: random.Random) -> None:
    """Change, insert, delete or repeat some octets."""
    at = chance.randrange(len(octets) + 1)
    match chance.randrange(5):
        case 0 if at < len(octets):
            octets[at] = chance.randrange(256)
        case 1 if at < len(octets):
            octets[at] ^= 1 << chance.randrange(8)
        case 2:
            octets[at:at] = chance.randbytes(chance.randint(1, 16))
        case 3:
            del octets[at : at + chance.randint(1, 16)]
        case 4 if len(octets) < 1000:
            octets[at:at] = octets[max(0, at - 16) : at]


def send(tester: Stranger, octets: bytes, home: IPv6Address) -> None:
    packet = wire.build(tester.here, tester.agent, wire.MOBILITY, octets, home_address_option=home)
    tester.send_packet(packet)


def alive(tester: Stranger) -> None:
    """See that the home agent answers; what it had to say to the mutants is read and forgotten."""
    tester.ask_witness()


def agent(tester: Stranger) -> int:
    """Give the PID of the home agent's process."""
    starter = tester.process("ha1", "home-agent")
    return int(Path(f"/proc/{starter}/task/{starter}/children").read_text().split()[0])


def memory(pid: int) -> int:
    """Give the resident memory of a process in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
