"""Binding signalling in ESP transport mode that UMIP and strongSwan made (captures/s5-*), opened with its keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from test_wire_captures import VECTORS, frames

from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPTURES = VECTORS / "captures"
HOME, AGENT = IPv6Address("2001:db8:a::1234"), IPv6Address("2001:db8:a::1")
CARE_OF = {IPv6Address("2001:db8:f1::ff:fe00:aa"), IPv6Address("2001:db8:f2::ff:fe00:aa")}
ESP = 50
ICV, IV = 16, 16  # octets: HMAC-SHA-256-128, AES-CBC


@dataclass(frozen=True)
class Keys:
    integrity: bytes
    encryption: bytes


@dataclass(frozen=True)
class Opened:
    """A packet whose ESP was taken off."""

    packet: wire.IPv6Packet
    next_header: int
    payload: bytes

    @property
    def message(self) -> wire.Message:
        return wire.decode(self.payload, self.packet.upper_source, self.packet.upper_destination)


def keys() -> dict[int, Keys]:
    """Read the keys of each SPI, as the kernels of both ends listed them."""
    listed = (CAPTURES / "s5-xfrm-states.txt").read_text()
    form = r"proto esp spi 0x(\w+).*?auth-trunc hmac\(sha256\) 0x(\w+) 128\s+enc cbc\(aes\) 0x(\w+)"
    return {
        int(spi, 16): Keys(bytes.fromhex(integrity), bytes.fromhex(encryption))
        for spi, integrity, encryption in re.findall(form, listed, re.DOTALL)
    }


def opened(name: str) -> Iterator[Opened]:
    """Check and decrypt every ESP packet of a capture (RFC 4303 section 3.4, RFC 4868, RFC 3602)."""
    known = keys()
    for frame in frames(CAPTURES / f"{name}.pcap"):
        packet = wire.walk(frame)
        if packet.next_header != ESP:
            continue
        held = known[int.from_bytes(packet.payload[:4], "big")]
        body, icv = packet.payload[:-ICV], packet.payload[-ICV:]
        assert hmac.new(held.integrity, body, hashlib.sha256).digest()[:ICV] == icv
        cipher = Cipher(algorithms.AES(held.encryption), modes.CBC(body[8 : 8 + IV])).decryptor()
        plain = cipher.update(body[8 + IV :]) + cipher.finalize()
        yield Opened(packet, plain[-1], plain[: -2 - plain[-2]])


@pytest.mark.parametrize(("name", "pairs"), [("s5-mn", 6), ("s5-ha_w", 5)])
def test_what_is_in_the_esp_decodes_and_encodes_to_the_same_octets(name: str, pairs: int) -> None:
    """Registration, handover, refreshes, and in s5-mn the return home."""
    found = list(opened(name))
    for entry in found:
        assert entry.next_header == wire.MOBILITY
        ends = entry.packet.upper_source, entry.packet.upper_destination
        assert wire.encode(entry.message, *ends) == entry.payload
    updates = [entry.message for entry in found if isinstance(entry.message, wire.BindingUpdate)]
    answers = [entry.message for entry in found if isinstance(entry.message, wire.BindingAcknowledgement)]
    assert len(updates) == len(answers) == pairs
    assert [answer.sequence for answer in answers] == [update.sequence for update in updates]
    assert all(answer.accepted for answer in answers)


def test_away_the_home_address_option_and_the_routing_header_are_outside_the_esp() -> None:
    for entry in opened("s5-ha_w"):
        packet, message = entry.packet, entry.message
        if isinstance(message, wire.BindingUpdate):
            assert (packet.home_address_option, packet.type2_home_address, packet.destination) == (HOME, None, AGENT)
            alternate = wire.option(message, wire.AlternateCareOfAddress)
            assert alternate is not None
            assert alternate.address == packet.source
        else:
            assert (packet.home_address_option, packet.type2_home_address, packet.source) == (None, HOME, AGENT)


def test_a_move_keeps_the_security_association() -> None:
    spis = {entry.packet.payload[:4] for entry in opened("s5-ha_w") if isinstance(entry.message, wire.BindingUpdate)}
    sources = {entry.packet.source for entry in opened("s5-ha_w") if isinstance(entry.message, wire.BindingUpdate)}
    assert len(spis) == 1
    assert sources == CARE_OF


def test_at_home_there_is_neither_and_the_lifetime_is_none() -> None:
    *_, update, answer = opened("s5-mn")
    assert (update.packet.source, update.packet.destination) == (HOME, AGENT)
    assert update.packet.home_address_option is None
    assert answer.packet.type2_home_address is None
    assert isinstance(update.message, wire.BindingUpdate)
    assert update.message.lifetime == 0
