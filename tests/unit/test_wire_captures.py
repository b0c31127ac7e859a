"""Frames that others made: UMIP on Linux (captures/) and tcpdump's own tests (tcpdump/, with its LICENSE)."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testbed.errors import WireError
from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[1] / "vectors"
ENDS = (IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2"))
LINK_HEADERS = {1: 14, 229: 0}  # LINKTYPE_ETHERNET, LINKTYPE_IPV6
IPV6_IN_IPV6 = 41


def frames(path: Path) -> Iterator[bytes]:
    """The network layer of each record of a pcap file; the last record may be cut off."""
    octets = path.read_bytes()
    (link,) = struct.unpack_from("<I", octets, 20)
    skip = LINK_HEADERS[link & 0xFFFF]
    at = 24
    while at + 16 <= len(octets):
        (length,) = struct.unpack_from("<I", octets, at + 8)
        frame = octets[at + 16 : at + 16 + length]
        at += 16 + length
        if skip == 0 or frame[12:14] == b"\x86\xdd":
            yield frame[skip:]


def packets(path: Path) -> Iterator[wire.IPv6Packet]:
    """Each packet of a capture, and what is tunnelled in it."""
    for frame in frames(path):
        packet = wire.walk(frame)
        while packet.next_header == IPV6_IN_IPV6:
            packet = wire.walk(packet.payload)
        yield packet


def mobility(path: Path) -> list[wire.IPv6Packet]:
    return [packet for packet in packets(path) if packet.next_header == wire.MOBILITY]


@pytest.mark.parametrize(
    ("name", "updates", "acknowledgements"),
    [("s1-mn", 7, 7), ("s1-ha_w", 6, 6), ("s1-home", 0, 0), ("s5-mn", 0, 0), ("s5-ha_w", 0, 0)],
)
def test_every_frame_of_umip_decodes_and_encodes_to_the_same_octets(
    name: str, updates: int, acknowledgements: int
) -> None:
    seen: list[wire.Message] = []
    for packet in mobility(VECTORS / "captures" / f"{name}.pcap"):
        message = wire.decode(packet.payload, packet.upper_source, packet.upper_destination)
        assert wire.encode(message, packet.upper_source, packet.upper_destination) == packet.payload
        seen.append(message)
    assert sum(isinstance(message, wire.BindingUpdate) for message in seen) == updates
    assert sum(isinstance(message, wire.BindingAcknowledgement) for message in seen) == acknowledgements


def test_checksum_of_umip_knows_the_home_address_and_not_the_care_of_address() -> None:
    away = [packet for packet in mobility(VECTORS / "captures" / "s1-mn.pcap") if packet.payload_offset > 40]
    assert {packet.home_address_option is None for packet in away} == {True, False}
    assert {packet.type2_home_address is None for packet in away} == {True, False}
    for packet in away:
        with pytest.raises(wire.ChecksumError):
            wire.decode(packet.payload, packet.source, packet.destination)


def test_first_binding_update_of_umip_says_what_wireshark_reads() -> None:
    packet = mobility(VECTORS / "captures" / "s1-mn.pcap")[0]
    assert str(packet.source) == "2001:db8:f1::ff:fe00:aa"
    assert str(packet.home_address_option) == "2001:db8:a::1234"
    update = wire.decode(packet.payload, packet.upper_source, packet.upper_destination)
    assert update == wire.BindingUpdate(
        0x0B1D,
        wire.BindingFlags.A | wire.BindingFlags.H,
        15,
        (wire.AlternateCareOfAddress(packet.source),),
    )


@pytest.mark.parametrize("name", ["s1-mn", "s1-ha_w"])
def test_packet_of_umip_is_built_again_from_its_parts(name: str) -> None:
    for packet, frame in zip(
        packets(VECTORS / "captures" / f"{name}.pcap"),
        frames(VECTORS / "captures" / f"{name}.pcap"),
        strict=True,
    ):
        if packet.next_header != wire.MOBILITY:
            continue
        again = wire.build(
            packet.source,
            packet.destination,
            packet.next_header,
            packet.payload,
            hop_limit=packet.hop_limit,
            home_address_option=packet.home_address_option,
            type2_home_address=packet.type2_home_address,
        )
        assert again[4:] == frame[4:]  # the flow label is the sender's


@pytest.mark.parametrize(
    ("name", "solicitations", "advertisements"),
    [("s1-mn", 1, 1), ("s1-ha_w", 1, 1), ("s5-mn", 2, 1), ("s5-ha_w", 2, 1)],
)
def test_prefix_discovery_of_umip_decodes_and_encodes_to_the_same_octets(
    name: str, solicitations: int, advertisements: int
) -> None:
    seen: list[wire.IcmpMessage] = []
    for packet in packets(VECTORS / "captures" / f"{name}.pcap"):
        if packet.next_header == wire.ICMPV6 and packet.payload[0] in set(wire.IcmpType):
            message = wire.decode_icmp(packet.payload, packet.upper_source, packet.upper_destination)
            assert wire.encode_icmp(message, packet.upper_source, packet.upper_destination) == packet.payload
            seen.append(message)
    assert sum(isinstance(message, wire.MobilePrefixSolicitation) for message in seen) == solicitations
    found = [message for message in seen if isinstance(message, wire.MobilePrefixAdvertisement)]
    assert len(found) == advertisements
    prefixes = [prefix for message in found for prefix in message.prefixes]
    assert prefixes
    assert all(wire.PrefixFlags.ROUTER_ADDRESS in prefix.flags for prefix in prefixes)


def test_encrypted_frames_stop_at_esp() -> None:
    headers = {packet.next_header for packet in packets(VECTORS / "captures" / "s5-mn.pcap")}
    assert 50 in headers
    assert wire.MOBILITY not in headers


# Numbers of the frames in ipv6_mobility_1.pcap, all without a checksum. In 7, 9, 10, 13 and 14 options stand
# where their alignment forbids it, and 16 pads with four Pad1 where RFC 6275 section 6.2.2 wants one PadN.
TCPDUMP = VECTORS / "tcpdump" / "ipv6_mobility_1.pcap"
NOT_CANONICAL = {7, 9, 10, 13, 14, 16}
TCPDUMP_SAYS: dict[int, tuple[type[wire.Message], dict[str, object]]] = {
    1: (wire.BindingRefreshRequest, {}),
    2: (wire.HomeTestInit, {"cookie": bytes(range(1, 9))}),
    3: (wire.CareOfTestInit, {"cookie": bytes(range(9, 17))}),
    4: (wire.HomeTest, {"nonce_index": 0x90A, "token": bytes(range(0x11, 0x19))}),
    5: (wire.CareOfTest, {"nonce_index": 0x90A, "token": bytes(range(0x19, 0x21))}),
    6: (wire.BindingUpdate, {"sequence": 1000, "flags": wire.BindingFlags.A, "lifetime": 14400}),
    8: (wire.BindingUpdate, {"options": (wire.NonceIndices(0x4D2, 0x162E),)}),
    11: (wire.BindingAcknowledgement, {"status": 0, "sequence": 1000, "lifetime": 14400}),
    12: (wire.BindingAcknowledgement, {"options": (wire.BindingRefreshAdvice(1800),)}),
    15: (wire.BindingError, {"status": 1}),
    16: (wire.BindingUpdate, {"options": ()}),
}


def test_messages_of_tcpdump_decode_to_what_tcpdump_prints() -> None:
    for number, packet in enumerate(mobility(TCPDUMP), 1):
        message = wire.decode(packet.payload, packet.source, packet.destination, verify=False)
        octets = wire.encode(message, packet.source, packet.destination)
        assert wire.decode(octets, packet.source, packet.destination) == message
        same = octets[:4] + octets[6:] == packet.payload[:4] + packet.payload[6:]
        assert same == (number not in NOT_CANONICAL), number
        kind, fields = TCPDUMP_SAYS.get(number, (type(message), {}))
        assert type(message) is kind
        assert {name: getattr(message, name) for name in fields} == fields
    assert number == 16


def test_message_of_tcpdump_without_its_checksum_is_discarded() -> None:
    for packet in mobility(TCPDUMP):
        with pytest.raises(wire.ChecksumError):
            wire.decode(packet.payload, packet.source, packet.destination)


MALFORMED = sorted(set((VECTORS / "tcpdump").glob("*.pcap")) - {TCPDUMP})


@pytest.mark.parametrize("path", MALFORMED, ids=lambda path: path.stem)
def test_malformed_capture_raises_nothing_but_wire_errors(path: Path) -> None:
    # tcpdump crashed on these; their lengths lie, so each part is tried as what it pretends to be as well.
    octets = path.read_bytes()[24:]
    refused = 0
    for at in range(len(octets)):
        part = octets[at:]
        for read in (
            wire.walk,
            lambda raw: wire.decode(raw, *ENDS, verify=False),
            lambda raw: wire.decode(bytes((59,)) + raw[1:], *ENDS, verify=False),
            lambda raw: wire.decode_icmp(raw, *ENDS, verify=False),
        ):
            try:
                read(part)
            except WireError:
                refused += 1
    assert refused > len(octets)
