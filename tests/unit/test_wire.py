"""Round trips, layouts, alignment and errors of the Mobility Header codec."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import WireError
from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = IPv6Address("2001:db8:a::1234")
AGENT = IPv6Address("2001:db8:a::1")
CARE_OF = IPv6Address("2001:db8:f1::ff:fe00:aa")
UPDATE_FLAGS = wire.BindingFlags.A | wire.BindingFlags.H

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 2**64 - 1)
addresses = st.ip_addresses(v=6).map(lambda address: IPv6Address(int(address)))
eight = st.binary(min_size=8, max_size=8)
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100)
services = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())
UNKNOWN_CODES = sorted(set(range(256)) - set(wire.OptionType))
option_kinds: list[st.SearchStrategy[wire.Option]] = [
    st.builds(wire.BindingRefreshAdvice, u16),
    st.builds(wire.AlternateCareOfAddress, addresses),
    st.builds(wire.NonceIndices, u16, u16),
    st.builds(wire.BindingAuthorizationData, st.binary(max_size=40)),
    st.builds(wire.MobileNodeIdentifier, st.binary(max_size=100), u8),
    st.builds(wire.MobilityAuthentication, u8, u32, st.binary(max_size=40)),
    st.builds(wire.ReplayProtection, u64),
    st.builds(wire.DnsUpdate, names, st.booleans(), u8),
    st.builds(wire.ServiceSelection, services),
    st.builds(wire.UnknownOption, st.sampled_from(UNKNOWN_CODES), st.binary(max_size=100)),
]
options = st.lists(st.one_of(option_kinds), max_size=8).map(tuple)
binding_flags = u16.map(wire.BindingFlags)
message_kinds: dict[str, Callable[[st.SearchStrategy[tuple[wire.Option, ...]]], st.SearchStrategy[wire.Message]]] = {
    "BindingRefreshRequest": lambda o: st.builds(wire.BindingRefreshRequest, o),
    "HomeTestInit": lambda o: st.builds(wire.HomeTestInit, eight, o),
    "CareOfTestInit": lambda o: st.builds(wire.CareOfTestInit, eight, o),
    "HomeTest": lambda o: st.builds(wire.HomeTest, u16, eight, eight, o),
    "CareOfTest": lambda o: st.builds(wire.CareOfTest, u16, eight, eight, o),
    "BindingUpdate": lambda o: st.builds(wire.BindingUpdate, u16, binding_flags, u16, o),
    "BindingAcknowledgement": lambda o: st.builds(wire.BindingAcknowledgement, u8, u8.map(wire.AckFlags), u16, u16, o),
    "BindingError": lambda o: st.builds(wire.BindingError, u8, addresses, o),
    "HomeAgentSwitch": lambda o: st.builds(wire.HomeAgentSwitch, st.lists(addresses, max_size=9).map(tuple), o),
    "BindingRevocation": lambda o: st.builds(wire.BindingRevocation, u8, u8, u16, u16.map(wire.RevocationFlags), o),
}


def encode(message: wire.Message) -> bytes:
    return wire.encode(message, HOME, AGENT)


def decode(octets: bytes) -> wire.Message:
    return wire.decode(octets, HOME, AGENT)


def with_checksum(octets: bytes) -> bytes:
    """The octets with a true checksum, made word by word as RFC 1071 describes it."""
    blank = octets[:4] + bytes(2) + octets[6:]
    total = 0
    pseudo = HOME.packed + AGENT.packed + struct.pack("!IxxxB", len(blank), 135)
    for (word,) in struct.iter_unpack("!H", pseudo + blank):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return blank[:4] + struct.pack("!H", total ^ 0xFFFF) + blank[6:]


@pytest.mark.parametrize("kind", message_kinds)
@given(data=st.data())
def test_message_survives_the_wire_with_any_options(kind: str, data: st.DataObject) -> None:
    message = data.draw(message_kinds[kind](options))
    octets = encode(message)
    assert len(octets) % 8 == 0
    assert octets[0] == 59
    assert octets[1] == len(octets) // 8 - 1
    assert octets == with_checksum(octets)
    again = decode(octets)
    assert again == message
    assert type(again) is type(message)
    assert encode(again) == octets


def test_every_message_type_and_option_type_has_a_strategy() -> None:
    assert len(message_kinds) == len(wire.MobilityType)
    assert len(option_kinds) == len(wire.OptionType) - len({wire.OptionType.PAD1, wire.OptionType.PADN}) + 1


LAYOUTS: list[tuple[wire.Message, str]] = [
    (wire.BindingRefreshRequest(), "3b00 0000 0000 0000"),
    (wire.HomeTestInit(b"COOKIE-1"), "3b01 0100 0000 0000 434f4f4b49452d31"),
    (wire.CareOfTestInit(b"COOKIE-2"), "3b01 0200 0000 0000 434f4f4b49452d32"),
    (
        wire.HomeTest(0x1234, b"COOKIE-1", b"TOKEN--1"),
        "3b02 0300 0000 1234 434f4f4b49452d31 544f4b454e2d2d31",
    ),
    (
        wire.CareOfTest(0x4321, b"COOKIE-2", b"TOKEN--2"),
        "3b02 0400 0000 4321 434f4f4b49452d32 544f4b454e2d2d32",
    ),
    (wire.BindingUpdate(0x1234, UPDATE_FLAGS, 15), "3b01 0500 0000 1234 c000 000f 0102 0000"),
    (
        wire.BindingUpdate(0x1234, UPDATE_FLAGS, 15, (wire.AlternateCareOfAddress(CARE_OF),)),
        "3b03 0500 0000 1234 c000 000f 0100 0310 20010db800f10000000000fffe0000aa",
    ),
    (
        wire.BindingAcknowledgement(135, wire.AckFlags.K, 0x1234, 3),
        "3b01 0600 0000 8780 1234 0003 0102 0000",
    ),
    (
        wire.BindingAcknowledgement(0, wire.AckFlags(0), 0x1234, 3, (wire.BindingRefreshAdvice(2),)),
        "3b01 0600 0000 0000 1234 0003 0202 0002",
    ),
    (wire.BindingError(2, AGENT), "3b02 0700 0000 0200 20010db8000a00000000000000000001"),
    (wire.HomeAgentSwitch(), "3b00 0c00 0000 0000"),
    (
        wire.HomeAgentSwitch((AGENT, HOME), (wire.BindingRefreshAdvice(9),)),
        ("3b05 0c00 0000 0200 20010db8000a00000000000000000001 20010db8000a000000000000000012340202 0009 0102 0000"),
    ),
    (
        wire.BindingRevocation(1, 1, 0xBEEF, wire.RevocationFlags.G),
        "3b01 1000 0000 0101 beef 2000 0102 0000",
    ),
    (wire.BindingRevocation(2, 128, 0xBEEF), "3b01 1000 0000 0280 beef 0000 0102 0000"),
    (
        wire.BindingUpdate(
            1,
            UPDATE_FLAGS,
            0,
            (
                wire.MobileNodeIdentifier(b"a@b"),
                wire.ReplayProtection(0x0102030405060708),
                wire.MobilityAuthentication(1, 0x100, b"\xaa" * 12),
            ),
        ),
        # MESG-ID falls on 18 = 8n + 2 by itself; one Pad1 takes AUTH from 28 to 29 = 4n + 1.
        (
            "3b05 0500 0000 0001 c000 0000 0804 01 614062 0a08 0102030405060708 00"
            "0911 01 00000100 aaaaaaaaaaaaaaaaaaaaaaaa"
        ),
    ),
]


@pytest.mark.parametrize(("message", "expected"), LAYOUTS, ids=lambda value: type(value).__name__)
def test_layout_is_that_of_the_rfc(message: wire.Message, expected: str) -> None:
    octets = with_checksum(bytes.fromhex(expected))
    assert encode(message).hex() == octets.hex()
    assert decode(octets) == message


ALIGNED: list[tuple[wire.Option, int, int]] = [
    (wire.BindingRefreshAdvice(1), 2, 0),
    (wire.AlternateCareOfAddress(CARE_OF), 8, 6),
    (wire.NonceIndices(1, 2), 2, 0),
    (wire.BindingAuthorizationData(b"\xaa" * 12), 8, 2),
    (wire.MobileNodeIdentifier(b"node@example.org"), 1, 0),
    (wire.MobilityAuthentication(1, 256, b"\xaa" * 12), 4, 1),
    (wire.ReplayProtection(1), 8, 2),
    (wire.DnsUpdate("mn.example.org"), 1, 0),
    (wire.ServiceSelection("voip"), 1, 0),
]


@pytest.mark.parametrize("ahead", range(8))
@pytest.mark.parametrize(("option", "modulus", "remainder"), ALIGNED, ids=lambda value: type(value).__name__)
def test_option_is_aligned_behind_any_offset(option: wire.Option, modulus: int, remainder: int, ahead: int) -> None:
    filler = wire.UnknownOption(200, b"\xee" * ahead)
    octets = encode(wire.BindingUpdate(1, UPDATE_FLAGS, 1, (filler, option)))
    end_of_filler = 12 + 2 + ahead
    at = next(n for n in range(end_of_filler, len(octets)) if octets[n] == option.code and n % modulus == remainder)
    padding = octets[end_of_filler:at]
    assert len(padding) < modulus
    assert padding in (b"", b"\0", bytes((1, len(padding) - 2 & 0xFF)) + bytes(max(len(padding) - 2, 0)))
    assert decode(octets) == wire.BindingUpdate(1, UPDATE_FLAGS, 1, (filler, option))


def test_authorization_data_ends_its_message_without_padding() -> None:
    update = wire.BindingUpdate(
        1, UPDATE_FLAGS, 1, (wire.NonceIndices(1, 2), wire.BindingAuthorizationData(b"\xaa" * 12))
    )
    assert encode(update).endswith(b"\xaa" * 12)


def test_padding_of_any_kind_is_dropped() -> None:
    octets = with_checksum(bytes.fromhex("3b02 0500 0000 0001 c000 000f 00 0103ffffff 00 0202 0007 00"))
    assert decode(octets) == wire.BindingUpdate(1, UPDATE_FLAGS, 15, (wire.BindingRefreshAdvice(7),))


def test_options_keep_their_order_and_the_first_of_two_counts() -> None:
    first, second = wire.AlternateCareOfAddress(CARE_OF), wire.AlternateCareOfAddress(HOME)
    update = wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.UnknownOption(99, b"x"), first, second))
    again = decode(encode(update))
    assert again == update
    assert wire.option(again, wire.AlternateCareOfAddress) == first
    assert wire.option(again, wire.UnknownOption) == wire.UnknownOption(99, b"x")
    assert wire.option(again, wire.NonceIndices) is None


def test_octets_behind_the_header_are_no_part_of_it() -> None:
    update = wire.BindingUpdate(1, UPDATE_FLAGS, 15)
    assert decode(encode(update) + b"trailer") == update


BAD_OPTIONS = {
    "type octet alone": "00000003",
    "longer than the message": "04050000",
    "advice of 1 octet": "02010000",
    "advice of no octets": "02000000",
    "service without a name": "14000000",
    "service that is no UTF-8": "1402ff00",
    "identifier without subtype": "08000000",
    "authentication without SPI": "09020100",
    "authentication without data": "09000000",
    "DNS name missing": "11020000",
    "DNS status alone": "11010000",
    "nonce indices of 2": "04020000",
    "replay protection of 2": "0a020000",
    "address of 2": "03020000",
}


@pytest.mark.parametrize("octets", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_option_is_named_by_its_offset(octets: str) -> None:
    raw = bytes.fromhex(octets)
    with pytest.raises(WireError) as caught:
        decode(with_checksum(bytes.fromhex("3b01 0500 0000 0001 c000 000f") + raw))
    assert caught.value.offset == 12 + len(raw) - len(raw.lstrip(b"\0"))
    assert type(caught.value) is WireError


def test_dns_name_in_labels_is_refused() -> None:
    with pytest.raises(WireError, match="printable"):
        decode(with_checksum(bytes.fromhex("3b02 0500 0000 0001 c000 000f 1107 0000 026d6e 01 00 0101 00")))


GOOD_UPDATE = bytes.fromhex("3b01 0500 0000 0001 c000 000f 0102 0000")


def test_wrong_checksum_comes_before_every_other_fault() -> None:
    for position in range(len(GOOD_UPDATE)):
        for bit in range(8):
            octets = bytearray(with_checksum(GOOD_UPDATE))
            octets[position] ^= 1 << bit
            with pytest.raises(wire.ChecksumError):
                decode(bytes(octets))


def test_type_comes_before_payload_proto_and_header_length() -> None:
    with pytest.raises(wire.UnknownTypeError) as caught:
        decode(with_checksum(bytes.fromhex("0600 0b00 0000 0000")))
    assert caught.value.type == 11
    assert caught.value.offset == 2


def test_payload_proto_comes_before_header_length() -> None:
    with pytest.raises(WireError, match="Payload Proto") as caught:
        decode(with_checksum(bytes.fromhex("0600 0500 0000 0001")))
    assert type(caught.value) is WireError
    assert caught.value.offset == 0


@pytest.mark.parametrize(("code", "units"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (6, 1), (7, 2), (16, 1)])
def test_header_length_below_the_type_is_at_offset_1(code: int, units: int) -> None:
    for header_length in range(units):
        octets = bytes((59, header_length, code)) + bytes(8 * (header_length + 1) - 3)
        with pytest.raises(WireError, match="Header Len") as caught:
            decode(with_checksum(octets))
        assert caught.value.offset == 1


def test_header_length_below_the_number_of_home_agents_is_at_offset_1() -> None:
    with pytest.raises(WireError, match="Header Len") as caught:
        decode(with_checksum(bytes.fromhex("3b01 0c00 0000 0100 20010db8000a0000")))
    assert caught.value.offset == 1


@pytest.mark.parametrize("length", range(16))
def test_header_that_is_cut_off_cannot_be_verified(length: int) -> None:
    for verify in (True, False):
        with pytest.raises(wire.ChecksumError):
            wire.decode(with_checksum(GOOD_UPDATE)[:length], HOME, AGENT, verify=verify)


def test_checksum_is_left_to_the_kernel_on_request() -> None:
    assert wire.decode(GOOD_UPDATE, HOME, AGENT, verify=False) == wire.BindingUpdate(1, UPDATE_FLAGS, 15)


@pytest.mark.parametrize(
    "message",
    [
        wire.BindingUpdate(1 << 16, UPDATE_FLAGS, 1),
        wire.BindingUpdate(1, UPDATE_FLAGS, -1),
        wire.BindingAcknowledgement(256, wire.AckFlags(0), 1, 1),
        wire.HomeTestInit(b"short"),
        wire.HomeTest(1, bytes(8), bytes(9)),
        wire.HomeAgentSwitch((AGENT,) * 256),
        wire.HomeAgentSwitch((AGENT,) * 128),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.UnknownOption(99, bytes(256)),)),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.ServiceSelection(""),)),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.ServiceSelection("\ud800"),)),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.DnsUpdate(""),)),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.DnsUpdate("b\u00fccher.example"),)),
        wire.BindingUpdate(1, UPDATE_FLAGS, 1, (wire.MobileNodeIdentifier(b"a", 256),)),
    ],
)
def test_value_that_does_not_fit_is_a_wire_error(message: wire.Message) -> None:
    with pytest.raises(WireError, match="does not fit"):
        encode(message)


@given(octets=st.binary(max_size=200), source=addresses, destination=addresses, next_header=st.integers(1, 255))
def test_checksum_agrees_with_the_sum_of_words(
    octets: bytes, source: IPv6Address, destination: IPv6Address, next_header: int
) -> None:
    pseudo = source.packed + destination.packed + struct.pack("!IxxxB", len(octets), next_header)
    padded = pseudo + octets + bytes(len(octets) % 2)
    total = sum(word for (word,) in struct.iter_unpack("!H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert wire.checksum(source, destination, next_header, octets) == total ^ 0xFFFF


def test_lifetimes_are_seconds() -> None:
    assert wire.BindingUpdate(1, UPDATE_FLAGS, 0xFFFF).lifetime == 262140
    assert wire.BindingAcknowledgement(0, wire.AckFlags.K, 1, 15).lifetime == 60
    assert wire.BindingRefreshAdvice(15).interval == 60


def test_status_without_a_name_decodes_and_is_judged() -> None:
    again = decode(encode(wire.BindingAcknowledgement(200, wire.AckFlags(0), 1, 0)))
    assert isinstance(again, wire.BindingAcknowledgement)
    assert again.status == 200
    assert not again.accepted
    assert wire.BindingAcknowledgement(127, wire.AckFlags(0), 1, 0).accepted


def test_statuses_below_128_accept() -> None:
    accepting = {status for status in wire.BindingStatus if status.accepted}
    assert accepting == {
        wire.BindingStatus.ACCEPTED,
        wire.BindingStatus.ACCEPTED_PREFIX_DISCOVERY_NECESSARY,
    }


def test_numbers_are_those_of_the_rfcs() -> None:
    assert wire.BindingStatus(144) is wire.BindingStatus.MIPV6_ID_MISMATCH
    assert wire.BindingStatus(145) is wire.BindingStatus.MIPV6_MESG_ID_REQD
    assert wire.BindingStatus(146) is wire.BindingStatus.MIPV6_AUTH_FAIL
    assert wire.BindingStatus(151) is wire.BindingStatus.SERVICE_AUTHORIZATION_FAILED
    assert wire.BindingStatus(174) is wire.BindingStatus.INVALID_CARE_OF_ADDRESS
    assert wire.BindingStatus(176) is wire.BindingStatus.REINIT_SA_WITH_HAC
    assert "".join(flag.name or "?" for flag in wire.BindingFlags) == "AHLKMRPFTB"
    assert [int(flag) for flag in wire.BindingFlags] == [0x8000 >> shift for shift in range(10)]
    assert [int(flag) for flag in wire.AckFlags] == [0x80 >> shift for shift in range(5)]


def test_flag_without_a_name_is_kept() -> None:
    update = wire.BindingUpdate(1, wire.BindingFlags(0x8001), 1)
    again = decode(encode(update))
    assert isinstance(again, wire.BindingUpdate)
    assert int(again.flags) == 0x8001
    assert wire.BindingFlags.A in again.flags


def test_nai_is_text_only_where_it_is_one() -> None:
    assert wire.MobileNodeIdentifier(b"node@example.org").nai == "node@example.org"
    assert wire.MobileNodeIdentifier(b"\xff\xfe").nai is None
    assert wire.MobileNodeIdentifier(b"node@example.org", 2).nai is None
