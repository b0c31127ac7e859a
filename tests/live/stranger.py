"""A host that sends a home agent what it likes, over plain links or into a tunnel, and understands its answers."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import subprocess
import time
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import rfc6275_cases as cases
import yaml
from lab import FAST, PROJECT, THIRD_PARTY, command_line

from testbed.bootstrap import agent_socket
from testbed.lab import Lab
from testbed.mip6 import wire
from testbed.mip6.control import result_of
from testbed.netlink import in_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAB = "rfc"
UNPROTECTED = PROJECT / "topologies" / "unprotected.yaml"
NUMBERS = 1 << 16  # of sequence numbers
_IPV6_HDRINCL = 36
_ETH_P_ALL, _ETH_P_IPV6 = 0x0003, 0x86DD  # for all protocols: before the rule that drops them
_PROBLEM, _ERRONEOUS_FIELD = 4, 0
_DEADLINE = 10.0
_UNKNOWN_TYPE = 254


class Stranger:
    """A host on an access network that sends what it likes, and knows the home agent's answers."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        plan = lab.plan
        self.agent = plan.home_agent_address(plan.hosts["ha1"])
        self.here = plan.hosts["tester"].address
        self.home, self.witness = (plan.subscribers[node].home_address for node in ("mn1", "mn2"))
        prefix = plan.home_link(plan.hosts["ha1"]).prefix
        self._places = {
            cases.Place.MINE: self.home,
            cases.Place.STRANGER: prefix[0xABCD],
            cases.Place.AGENT: self.agent,
            cases.Place.FOREIGN: IPv6Address("2001:db8:ffff::1"),
            cases.Place.HERE: self.here,
            cases.Place.THERE: plan.wires["access2"].prefix[0x77],
        }
        self._control = agent_socket(lab.room("ha1"))
        self.last = 0
        pid = lab.room("tester").init.pid
        # the kernel here has no Mobile IPv6 either: it would complain about routing headers
        quiet = "add table netdev quiet\n"
        quiet += 'add chain netdev quiet in { type filter hook ingress device "access1" priority 0 ; }\n'
        quiet += "add rule netdev quiet in rt type 2 drop\n"
        subprocess.run(lab.room("tester").command(["nft", "-f", "-"]), input=quiet, text=True, check=True)
        with in_namespace(pid):
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._in = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._out.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._in.settimeout(_DEADLINE)

    def close(self) -> None:
        self._out.close()
        self._in.close()

    def address(self, place: cases.Place | str) -> IPv6Address:
        return self._places[place] if isinstance(place, cases.Place) else IPv6Address(place)

    def refused(self) -> int:
        """Ask the home agent how many messages it has refused."""
        return int(asyncio.run(result_of(self._control, {"op": "status"}, where="ha1"))["refused"])

    def bound(self) -> IPv6Address | None:
        """Ask the home agent what the home address is bound to."""
        told = asyncio.run(result_of(self._control, {"op": "status"}, where="ha1"))
        found = {entry["home_address"]: entry["care_of_address"] for entry in told["bindings"]}
        return IPv6Address(found[str(self.home)]) if str(self.home) in found else None

    def bring_to(self, before: cases.Place | None) -> None:
        """Bring the home address into the state in which a case begins, and learn its last sequence number."""
        answer = self.answer(cases.Update(advance=1))
        if isinstance(answer, cases.Ack) and answer.status == wire.BindingStatus.SEQUENCE_NUMBER_OUT_OF_WINDOW:
            answer = self.answer(cases.Update(advance=1))  # the refusal told the last number
        assert answer == cases.ACCEPTED
        if before is None:
            assert self.answer(cases.Update(units=0)) == cases.DELETED

    def answer(self, update: cases.Update) -> cases.Answer:
        """Send an update and give the first answer that is not the witness's."""
        self.send(update)
        while True:
            answer = self._next()
            if answer is not None:
                return answer

    def silent(self, update: cases.Update) -> list[cases.Answer]:
        """Send an update, then one whose answer is known; give what came before that."""
        self.send(update)
        self._send_witness()
        answers: list[cases.Answer] = []
        while (answer := self._next()) is not None:
            answers.append(answer)
        return answers

    def send(self, update: cases.Update) -> None:
        home = self.address(update.home)
        options = list(update.options)
        if update.alternate is not None:
            options.append(wire.AlternateCareOfAddress(self.address(update.alternate)))
        sequence = (self.last + update.advance) % (NUMBERS)
        message = wire.BindingUpdate(sequence, update.flags, update.units, tuple(options))
        octets = bytearray(wire.encode(message, home, self.agent))
        if update.mangle:
            octets = update.mangle(octets) or octets
            if not update.spoil:
                octets[4:6] = bytes(2)
                octets[4:6] = struct.pack("!H", wire.checksum(home, self.agent, wire.MOBILITY, bytes(octets)))
        elif update.spoil:
            octets[4] ^= 0xFF
        self._packet(bytes(octets), home if update.option else None)

    def own(self, change: str) -> None:
        """Have a host on the home link take the home address (``add``) or give it up (``del``)."""
        address = ("ip", "-6", "address", change, f"{self.home}/64", "dev", "home", *(("nodad",) * (change == "add")))
        subprocess.run(self._lab.room("owner").command(address), check=True)

    def send_packet(self, packet: bytes) -> None:
        """Send a whole packet to the home agent."""
        self._out.sendto(packet, (str(self.agent), 0))

    def ask_witness(self) -> None:
        """Send an update whose answer is known, and wait for it, whatever comes before."""
        self._send_witness()
        while self._next() is not None:
            pass

    def process(self, node: str, daemon: str) -> int:
        """Give the PID of what started a daemon."""
        return next(r.process.pid for r in self._lab.saved.running if (r.node, r.daemon) == (node, daemon))

    def _send_witness(self) -> None:
        """A correspondent registration of another mobile node: refused with 131, whatever its sequence number."""
        message = wire.BindingUpdate(0, wire.BindingFlags.A, cases.UNITS)
        self._packet(wire.encode(message, self.witness, self.agent), self.witness)

    def _packet(self, octets: bytes, home: IPv6Address | None) -> None:
        packet = wire.build(self.here, self.agent, wire.MOBILITY, octets, home_address_option=home)
        self.send_packet(packet)

    def _next(self) -> cases.Answer | None:
        """Give the next answer of the home agent; None for the answer to the witness."""
        end = time.monotonic() + _DEADLINE
        while True:
            assert time.monotonic() < end, "no answer"
            octets, (_, protocol, kind, _, _) = self._in.recvfrom(65535)
            if kind == socket.PACKET_OUTGOING or protocol != _ETH_P_IPV6:
                continue
            packet = wire.walk(octets)
            if packet.source != self.agent or packet.destination != self.here:
                continue
            if packet.next_header == wire.ICMPV6 and packet.payload[:2] == bytes((_PROBLEM, _ERRONEOUS_FIELD)):
                return self._problem(packet.payload)
            if packet.next_header == wire.MOBILITY:
                message = wire.decode(packet.payload, packet.upper_source, packet.upper_destination)
                if packet.type2_home_address == self.witness:
                    return None
                return self._understood(message, packet)

    def _understood(self, message: wire.Message, packet: wire.IPv6Packet) -> cases.Answer:
        if isinstance(message, wire.BindingError):
            home = message.home_address
            place = next((p for p, a in self._places.items() if a == home), None)
            return cases.Failure(wire.BindingErrorStatus(message.status), place or str(home))
        # RFC 6275 section 9.5.4: by a type 2 routing header, since the update had a Home Address option
        assert packet.type2_home_address == self.home
        return self._acknowledged(message)

    def _acknowledged(self, message: wire.Message) -> cases.Answer:
        assert isinstance(message, wire.BindingAcknowledgement)
        status = wire.BindingStatus(message.status)
        refused = status == wire.BindingStatus.SEQUENCE_NUMBER_OUT_OF_WINDOW
        self.last = message.sequence
        return cases.Ack(status, message.lifetime_units, refused)

    def _problem(self, payload: bytes) -> cases.Answer:
        pointer = struct.unpack("!I", payload[4:8])[0]
        invoking = wire.walk(payload[8:]) if len(payload) > 48 else None
        assert invoking is not None
        return cases.Problem(pointer - invoking.payload_offset)


class Tunnelled(Stranger):
    """A mobile node that has bootstrapped and now sends what it likes into its tunnel."""

    def __init__(self, lab: Lab, care_of: IPv6Address) -> None:  # the sockets are others than a stranger's
        plan = lab.plan
        self.agent = plan.home_agent_address(plan.hosts["ha1"])
        self.here = care_of
        self.home = plan.subscribers["mn1"].home_address
        self._places = {cases.Place.MINE: self.home, cases.Place.HERE: self.here}
        self._control = agent_socket(lab.room("ha1"))
        self.last = 0
        with in_namespace(lab.room("mn1").init.pid):
            self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.MOBILITY)
            self._in = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.ICMPV6)
        self._out.bind((str(self.home), 0))
        self._in.bind((str(self.home), 0))

    def _send_witness(self) -> None:
        """A message of an unknown type: answered by a Binding Error."""
        octets = bytearray(wire.encode(wire.BindingRefreshRequest(), self.home, self.agent))
        octets[2] = _UNKNOWN_TYPE
        self._packet(bytes(octets), None)

    def _packet(self, octets: bytes, _home: IPv6Address | None) -> None:
        self._out.sendto(octets, (str(self.agent), 0))

    def _next(self) -> cases.Answer | None:
        ready, _, _ = select.select([self._out, self._in], [], [], _DEADLINE)
        assert ready, "no answer"
        octets = ready[0].recv(65535)
        if ready[0] is self._in:
            return self._problem(octets) if octets[:2] == bytes((_PROBLEM, _ERRONEOUS_FIELD)) else self._next()
        message = wire.decode(octets, self.agent, self.home)
        if isinstance(message, wire.BindingError):
            assert message.home_address == IPv6Address(0)  # there is no Home Address option in a tunnel
            return None
        return self._acknowledged(message)


@contextlib.contextmanager
def beside_a_home_agent(folder: Path) -> Iterator[Stranger]:
    """Bring a lab up in which nothing is protected, with a stranger on an access network."""
    document: dict[str, Any] = yaml.safe_load(UNPROTECTED.read_text())
    document["nodes"]["tester"] = {"networks": ["access1"]}
    document["nodes"]["owner"] = {"networks": ["home"]}
    document["mobile_nodes"]["mn2"] = {**document["mobile_nodes"]["mn1"], "nai": "mn2@carrier.example"}
    path = folder / "rfc.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with command_line() as cli:
        cli("up", str(path), "--lab", LAB, *FAST, "--no-bootstrap")
        stranger = Stranger(Lab(LAB, cli.state / LAB, cli.saved(LAB)))
        try:
            yield stranger
        finally:
            stranger.close()


@contextlib.contextmanager
def in_a_tunnel() -> Iterator[Tunnelled]:
    """Bring the third-party lab up, and give its mobile node's place."""
    with command_line() as cli:
        done = cli("up", str(THIRD_PARTY), "--lab", LAB, *FAST, "--json").document["bootstrapped"][0]
        driver = Tunnelled(Lab(LAB, cli.state / LAB, cli.saved(LAB)), IPv6Address(done["care_of_address"]))
        try:
            yield driver
        finally:
            driver.close()
