"""IPv6 packets with home addresses, ICMPv6 of Mobile IPv6, and noise."""

from __future__ import annotations

import contextlib
import random
import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import WireError
from testbed.mip6 import wire

HOME = IPv6Address("2001:db8:a::1234")
AGENT = IPv6Address("2001:db8:a::1")
CARE_OF = IPv6Address("2001:db8:f1::ff:fe00:aa")
HOME_OCTETS = "20010db8000a00000000000000001234"

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
addresses = st.ip_addresses(v=6).map(lambda address: IPv6Address(int(address)))


def test_home_address_header_is_that_of_the_rfc() -> None:
    assert wire.encode_home_address(135, HOME) == bytes.fromhex("8702 0102 0000 c910" + HOME_OCTETS)


def test_type2_routing_header_is_that_of_the_rfc() -> None:
    assert wire.encode_type2_routing(135, HOME) == bytes.fromhex("8702 0201 00000000" + HOME_OCTETS)


def test_packet_is_that_of_the_rfc() -> None:
    packet = wire.build(CARE_OF, AGENT, 59, b"rest", hop_limit=7, home_address_option=HOME)
    assert packet[:8] == bytes.fromhex("60000000 001c 3c 07")
    assert packet[8:40] == CARE_OF.packed + AGENT.packed
    assert packet[40:] == wire.encode_home_address(59, HOME) + b"rest"


@given(
    source=addresses,
    destination=addresses,
    next_header=u8.filter(lambda value: value not in {0, 43, 60}),
    payload=st.binary(max_size=60),
    hop_limit=u8,
    home=st.none() | addresses,
    final=st.none() | addresses,
    trailer=st.binary(max_size=9),
)
def test_packet_survives_the_wire(  # noqa: PLR0917 - hypothesis passes them by name
    source: IPv6Address,
    destination: IPv6Address,
    next_header: int,
    payload: bytes,
    hop_limit: int,
    home: IPv6Address | None,
    final: IPv6Address | None,
    trailer: bytes,
) -> None:
    octets = wire.build(
        source,
        destination,
        next_header,
        payload,
        hop_limit=hop_limit,
        home_address_option=home,
        type2_home_address=final,
    )
    offset = 40 + 24 * ((home is not None) + (final is not None))
    packet = wire.walk(octets + trailer)
    assert packet == wire.IPv6Packet(source, destination, hop_limit, next_header, payload, offset, home, final)
    assert packet.upper_source == (source if home is None else home)
    assert packet.upper_destination == (destination if final is None else final)
    assert octets[offset:] == payload


def test_other_extension_headers_and_options_are_passed_over() -> None:
    hop_by_hop = bytes.fromhex("2b00 0502 0000 0100")
    routing = bytes.fromhex("3c00 0300 00000000")  # RPL, no segments left: not ours
    destination = bytes.fromhex("8703 1e01 ff 00 0103 000000 00 0000 c910" + HOME_OCTETS)
    packet = wire.walk(_packet(0, hop_by_hop + routing + destination + b"payload!"))
    assert packet.home_address_option == HOME
    assert packet.type2_home_address is None
    assert (packet.next_header, packet.payload, packet.payload_offset) == (135, b"payload!", 40 + 8 + 8 + 32)


@pytest.mark.parametrize("next_header", [44, 50, 51, 58, 59, 135])
def test_walk_ends_at_what_is_not_an_extension_header(next_header: int) -> None:
    assert wire.walk(_packet(next_header, bytes(16))).payload_offset == 40


def test_home_address_option_of_hop_by_hop_is_none_of_ours() -> None:
    header = bytes.fromhex("8702 0102 0000 c910" + HOME_OCTETS)
    assert wire.walk(_packet(0, header)).home_address_option is None


def _packet(next_header: int, payload: bytes) -> bytes:
    return wire.build(CARE_OF, AGENT, next_header, payload)


FAULTS = {
    "shorter than a header": (_packet(59, b"")[:39], 39),
    "not version 6": (b"\x45" + _packet(59, b"")[1:], 0),
    "cut off": (_packet(59, b"payload")[:-1], 46),
    "extension header missing": (_packet(60, b""), 40),
    "extension header of one octet": (_packet(60, b"\x87"), 40),
    "extension header too long": (_packet(60, bytes.fromhex("8702 0104 00000000")), 40),
    "home address of 8 octets": (_packet(60, bytes.fromhex("8701 0102 0000 c908 0000000000000000")), 47),
    "two home addresses": (
        _packet(60, wire.encode_home_address(60, HOME) + wire.encode_home_address(135, HOME)),
        40 + 24 + 6,
    ),
    "two in one header": (
        _packet(60, bytes.fromhex("8704 0102 0000 c910" + HOME_OCTETS + "c910" + HOME_OCTETS[:-4])),
        40 + 24,
    ),
    "option cut off": (_packet(60, bytes.fromhex("8700 0105 00000000")), 42),
    "routing length": (_packet(43, bytes.fromhex("8704 0201 00000000" + HOME_OCTETS * 2)), 41),
    "routing length 0": (_packet(43, bytes.fromhex("8700 0201 00000000")), 41),
    "no segment left": (_packet(43, bytes.fromhex("8702 0200 00000000" + HOME_OCTETS)), 43),
    "two routing headers": (
        _packet(43, wire.encode_type2_routing(43, HOME) + wire.encode_type2_routing(135, HOME)),
        64,
    ),
}


@pytest.mark.parametrize(("octets", "offset"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named_by_its_offset_in_the_packet(octets: bytes, offset: int) -> None:
    with pytest.raises(WireError) as caught:
        wire.walk(octets)
    assert caught.value.offset == offset


def test_packet_that_is_too_long_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="does not fit"):
        _packet(59, bytes(65536))


prefixes = st.builds(wire.PrefixInformation, addresses, st.integers(0, 128), u8.map(wire.PrefixFlags), u32, u32)
icmp_messages: st.SearchStrategy[wire.IcmpMessage] = st.one_of(
    st.builds(wire.ParameterProblem, u8, u32, st.binary(max_size=200)),
    st.builds(wire.HomeAgentDiscoveryRequest, u16),
    st.builds(wire.HomeAgentDiscoveryReply, u16, st.lists(addresses, max_size=5).map(tuple)),
    st.builds(wire.MobilePrefixSolicitation, u16),
    st.builds(
        wire.MobilePrefixAdvertisement,
        u16,
        u16.map(wire.RouterFlags),
        st.lists(prefixes, max_size=4).map(tuple),
    ),
)


@given(message=icmp_messages)
def test_icmp_message_survives_the_wire(message: wire.IcmpMessage) -> None:
    octets = wire.encode_icmp(message, HOME, AGENT)
    assert wire.checksum(HOME, AGENT, 58, octets) == 0
    again = wire.decode_icmp(octets, HOME, AGENT)
    assert again == message
    assert type(again) is type(message)


ICMP_LAYOUTS: list[tuple[wire.IcmpMessage, str]] = [
    (wire.HomeAgentDiscoveryRequest(0x1234), "9000 0000 1234 0000"),
    (wire.HomeAgentDiscoveryReply(0x1234, (HOME,)), "9100 0000 1234 0000" + HOME_OCTETS),
    (wire.MobilePrefixSolicitation(0x1234), "9200 0000 1234 0000"),
    (
        wire.MobilePrefixAdvertisement(
            0x1234,
            wire.RouterFlags.MANAGED | wire.RouterFlags.OTHER,
            (wire.PrefixInformation(AGENT, 64, wire.PrefixFlags.ROUTER_ADDRESS, 3600, 1800),),
        ),
        "9300 0000 1234 c000 0304 4020 00000e10 00000708 00000000 20010db8000a00000000000000000001",
    ),
    (wire.ParameterProblem(0, 41, b"the packet"), "0400 0000 00000029 746865207061636b6574"),
]


@pytest.mark.parametrize(("message", "expected"), ICMP_LAYOUTS, ids=lambda value: type(value).__name__)
def test_icmp_layout_is_that_of_the_rfc(message: wire.IcmpMessage, expected: str) -> None:
    octets = wire.encode_icmp(message, HOME, AGENT)
    assert (octets[:2] + bytes(2) + octets[4:]).hex() == bytes.fromhex(expected).hex()
    assert wire.decode_icmp(octets, HOME, AGENT) == message


def test_parameter_problem_fits_the_minimum_mtu() -> None:
    octets = wire.encode_icmp(wire.ParameterProblem(0, 1, bytes(2000)), HOME, AGENT)
    assert 40 + len(octets) == 1280


def test_unknown_neighbour_discovery_options_are_skipped() -> None:
    advertisement = bytes.fromhex("9300 0000 0001 0000 0101 000000000000")
    message = wire.decode_icmp(advertisement, HOME, AGENT, verify=False)
    assert message == wire.MobilePrefixAdvertisement(1)


ICMP_FAULTS = {
    "reply with half an address": ("9100 0000 0001 0000 20010db8", 12),
    "option without length": ("9300 0000 0001 0000 03", 8),
    "option of length 0": ("9300 0000 0001 0000 0300 000000000000", 8),
    "option cut off": ("9300 0000 0001 0000 0304 000000000000", 8),
    "prefix information of 8 octets": ("9300 0000 0001 0000 0301 000000000000", 9),
    "prefix length 129": ("9300 0000 0001 0000 0304 8100 " + "00" * 28, 10),
}


@pytest.mark.parametrize(("octets", "offset"), ICMP_FAULTS.values(), ids=ICMP_FAULTS)
def test_icmp_fault_is_named_by_its_offset(octets: str, offset: int) -> None:
    with pytest.raises(WireError) as caught:
        wire.decode_icmp(bytes.fromhex(octets), HOME, AGENT, verify=False)
    assert caught.value.offset == offset


def test_icmp_checks_checksum_then_type() -> None:
    octets = bytes.fromhex("8000 0000 0001 0001")
    with pytest.raises(wire.ChecksumError):
        wire.decode_icmp(octets, HOME, AGENT)
    with pytest.raises(wire.UnknownTypeError) as caught:
        wire.decode_icmp(octets, HOME, AGENT, verify=False)
    assert caught.value.type == 128
    with pytest.raises(wire.ChecksumError):
        wire.decode_icmp(octets[:7], HOME, AGENT, verify=False)


def test_icmp_value_that_does_not_fit_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="does not fit"):
        wire.encode_icmp(wire.HomeAgentDiscoveryRequest(65536), HOME, AGENT)


def _seeds() -> list[bytes]:
    """Packets of every kind to mutate, with every option and both home address headers."""
    mobility_options: tuple[wire.Option, ...] = (
        wire.MobileNodeIdentifier(b"node@example.org"),
        wire.AlternateCareOfAddress(CARE_OF),
        wire.NonceIndices(1, 2),
        wire.BindingRefreshAdvice(3),
        wire.DnsUpdate("node.example.org"),
        wire.ServiceSelection("voip"),
        wire.ReplayProtection(5),
        wire.UnknownOption(99, b"?"),
        wire.MobilityAuthentication(1, 256),
        wire.BindingAuthorizationData(),
    )
    messages: list[wire.Message] = [
        wire.BindingRefreshRequest(mobility_options),
        wire.HomeTestInit(bytes(8), mobility_options),
        wire.CareOfTest(1, bytes(8), bytes(8), mobility_options),
        wire.BindingUpdate(1, wire.BindingFlags.A, 1, mobility_options),
        wire.BindingAcknowledgement(0, wire.AckFlags.K, 1, 1, mobility_options),
        wire.BindingError(1, HOME, mobility_options),
        wire.HomeAgentSwitch((AGENT, HOME), mobility_options),
        wire.BindingRevocation(1, 1, 1, options=mobility_options),
    ]
    payloads = [(135, wire.encode(message, HOME, AGENT)) for message in messages]
    prefix = wire.PrefixInformation(AGENT, 64, wire.PrefixFlags.ROUTER_ADDRESS, 3600, 1800)
    payloads += [
        (58, wire.encode_icmp(wire.HomeAgentDiscoveryReply(1, (AGENT, HOME)), HOME, AGENT)),
        (58, wire.encode_icmp(wire.MobilePrefixAdvertisement(1, prefixes=(prefix,)), HOME, AGENT)),
    ]
    return [
        wire.build(CARE_OF, AGENT, next_header, payload, home_address_option=HOME, type2_home_address=HOME)
        for next_header, payload in payloads
    ]


def _digest(octets: bytes) -> None:
    """Everything that a receiver does with a packet."""
    packet = wire.walk(octets)
    ends = (packet.upper_source, packet.upper_destination)
    if packet.next_header == wire.ICMPV6:
        wire.decode_icmp(packet.payload, *ends, verify=False)
    else:
        message = wire.decode(packet.payload, *ends, verify=False)
        assert wire.decode(wire.encode(message, *ends), *ends) == message
        if isinstance(message, wire.BindingUpdate | wire.BindingAcknowledgement):
            assert not wire.verify(packet.payload, wire.AuthenticationSubtype.MN_HA, bytes(16), CARE_OF, HOME)
            assert not wire.authorized(packet.payload, bytes(20), CARE_OF, AGENT)


def test_mutated_packets_raise_nothing_but_wire_errors() -> None:
    dice = random.Random(4640)  # noqa: S311 - a seeded sequence, not a secret
    seeds = _seeds()
    good = bad = 0
    for _ in range(20_000):
        octets = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            match dice.randrange(4):
                case 0:
                    octets[dice.randrange(len(octets))] = dice.randrange(256)
                case 1:
                    octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
                case 2:
                    at = dice.randrange(len(octets))
                    octets[at:at] = dice.randbytes(dice.randint(1, 8))
                case _:
                    del octets[dice.randrange(40, len(octets)) :]
                    octets += dice.randbytes(dice.choice((0, 0, 1, 24)))
            if len(octets) > 40 and dice.random() < 0.7:
                struct.pack_into("!H", octets, 4, len(octets) - 40)
            if len(octets) <= 40:
                break
        try:
            _digest(bytes(octets))
        except WireError:
            bad += 1
        else:
            good += 1
    assert good > 1000
    assert bad > 1000


@given(octets=st.binary(max_size=120))
def test_noise_raises_nothing_but_wire_errors(octets: bytes) -> None:
    for header in (b"", bytes((59, max(0, len(octets) // 8)))):
        noise = header + octets
        for read in (
            wire.walk,
            lambda raw: wire.decode(raw, HOME, AGENT, verify=False),
            lambda raw: wire.decode_icmp(raw, HOME, AGENT, verify=False),
        ):
            with contextlib.suppress(WireError):
                read(noise)
