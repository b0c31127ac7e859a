"""Authenticators of RFC 4285 and of return routability, and NTP timestamps."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import WireError
from testbed.mip6 import wire

HOME = IPv6Address("2001:db8:a::1234")
AGENT = IPv6Address("2001:db8:a::1")
CARE_OF = IPv6Address("2001:db8:f1::ff:fe00:aa")
PEER = IPv6Address("2001:db8:c::c")
MN_HA, MN_AAA = wire.AuthenticationSubtype.MN_HA, wire.AuthenticationSubtype.MN_AAA
KEYS = {MN_HA: bytes(range(16)), MN_AAA: bytes(range(16, 32))}
BLANK = wire.BindingUpdate(
    0x1234,
    wire.BindingFlags.A | wire.BindingFlags.H,
    15,
    (
        wire.AlternateCareOfAddress(CARE_OF),
        wire.MobileNodeIdentifier(b"node@example.org"),
        wire.MobilityAuthentication(MN_HA, 256),
    ),
)


def encode(message: wire.Message) -> bytes:
    return wire.encode(message, HOME, AGENT)


def test_mn_ha_covers_addresses_and_header_up_to_the_spi() -> None:
    # BU of 80 octets by hand: alternate care-of address at 14, MN-ID at 32, PadN of 2, AUTH at 53 = 4n + 1.
    mh_data = (
        bytes.fromhex("3b08 0500 0000 1234 c000 000f 0100 0310")
        + CARE_OF.packed
        + bytes.fromhex("0811 01")
        + b"node@example.org"
        + bytes.fromhex("0100 0911 01 00000100")
    )
    octets = encode(wire.sign(BLANK, KEYS, CARE_OF, HOME))
    expected = hmac.new(KEYS[MN_HA], CARE_OF.packed + HOME.packed + mh_data, hashlib.sha1).digest()[:12]
    covered, authenticator = wire.signed_part(octets, MN_HA)
    assert (covered[:4] + bytes(2) + covered[6:]).hex() == mh_data.hex()
    assert authenticator == expected
    assert wire.mn_ha_authenticator(KEYS[MN_HA], CARE_OF, HOME, covered) == expected
    assert wire.verify(octets, MN_HA, KEYS[MN_HA], CARE_OF, HOME)


def test_mn_ha_fails_for_another_key_or_address_or_octet() -> None:
    octets = encode(wire.sign(BLANK, KEYS, CARE_OF, HOME))
    assert not wire.verify(octets, MN_HA, bytes(16), CARE_OF, HOME)
    assert not wire.verify(octets, MN_HA, KEYS[MN_HA], AGENT, HOME)
    assert not wire.verify(octets, MN_HA, KEYS[MN_HA], CARE_OF, AGENT)
    for position in (6, 8, 11, 20, 40):
        touched = bytearray(octets)
        touched[position] ^= 1
        assert not wire.verify(bytes(touched), MN_HA, KEYS[MN_HA], CARE_OF, HOME)


def test_message_without_the_option_is_not_verified() -> None:
    assert not wire.verify(encode(wire.BindingUpdate(1, BLANK.flags, 1)), MN_HA, KEYS[MN_HA], CARE_OF, HOME)
    octets = encode(wire.sign(BLANK, KEYS, CARE_OF, HOME))
    assert not wire.verify(octets, MN_AAA, KEYS[MN_AAA], CARE_OF, HOME)
    with pytest.raises(WireError, match="subtype 2"):
        wire.signed_part(octets, MN_AAA)


def test_both_authenticators_of_one_message_hold() -> None:
    both = wire.BindingUpdate(
        1,
        BLANK.flags,
        15,
        (*BLANK.options, wire.MobilityAuthentication(MN_AAA, wire.HMAC_SHA1_SPI)),
    )
    signed = wire.sign(both, KEYS, CARE_OF, HOME)
    octets = encode(signed)
    assert wire.decode(octets, HOME, AGENT) == signed
    assert wire.verify(octets, MN_HA, KEYS[MN_HA], CARE_OF, HOME)
    assert wire.verify(octets, MN_AAA, KEYS[MN_AAA], CARE_OF, HOME)
    mh_data, authenticator = wire.signed_part(octets, MN_AAA)
    cleared = mh_data[:4] + bytes(2) + mh_data[6:]
    digest = hashlib.sha1(CARE_OF.packed + HOME.packed + cleared, usedforsecurity=False).digest()
    assert wire.mn_aaa_digest(CARE_OF, HOME, mh_data) == digest
    assert authenticator == hmac.new(KEYS[MN_AAA], digest, hashlib.sha1).digest()
    assert mh_data[-4:] == bytes((0, 0, 0, 3))


def test_mn_aaa_with_another_spi_is_neither_signed_nor_verified() -> None:
    odd = wire.BindingUpdate(1, BLANK.flags, 15, (wire.MobilityAuthentication(MN_AAA, 5),))
    with pytest.raises(WireError, match="SPI 5"):
        wire.sign(odd, KEYS, CARE_OF, HOME)
    assert not wire.verify(encode(odd), MN_AAA, KEYS[MN_AAA], CARE_OF, HOME)


def test_unknown_subtype_is_neither_signed_nor_verified() -> None:
    odd = wire.BindingUpdate(1, BLANK.flags, 15, (wire.MobilityAuthentication(9, 256),))
    with pytest.raises(WireError, match="subtype 9"):
        wire.sign(odd, KEYS, CARE_OF, HOME)
    assert not wire.verify(encode(odd), 9, bytes(16), CARE_OF, HOME)


def test_kbm_hashes_both_tokens_or_the_home_token_alone() -> None:
    home, care_of = b"HOMETOKN", b"COATOKEN"
    assert wire.kbm(home, care_of) == hashlib.sha1(home + care_of, usedforsecurity=False).digest()
    assert wire.kbm(home) == hashlib.sha1(home, usedforsecurity=False).digest()


def test_authorization_data_covers_addresses_and_header_without_itself() -> None:
    key = wire.kbm(b"HOMETOKN", b"COATOKEN")
    update = wire.BindingUpdate(0x1234, wire.BindingFlags.A, 15, (wire.NonceIndices(1, 2),))
    octets = encode(wire.authorize(update, key, CARE_OF, PEER))
    mh_data = bytes.fromhex("3b03 0500 0000 1234 8000 000f 0404 0001 0002 050c")
    expected = hmac.new(key, CARE_OF.packed + PEER.packed + mh_data, hashlib.sha1).digest()[:12]
    assert octets[-12:] == expected
    assert (octets[:4] + bytes(2) + octets[6:-12]).hex() == mh_data.hex()
    assert wire.authenticator(key, CARE_OF, PEER, octets[:-12]) == expected
    assert wire.authorized(octets, key, CARE_OF, PEER)
    assert wire.authorized(octets + b"trailer", key, CARE_OF, PEER)
    assert not wire.authorized(octets, key, HOME, PEER)
    assert not wire.authorized(octets, wire.kbm(b"HOMETOKN"), CARE_OF, PEER)
    assert not wire.authorized(encode(update), key, CARE_OF, PEER)


def test_authorization_data_that_is_not_last_is_not_true() -> None:
    key = wire.kbm(b"HOMETOKN")
    update = wire.authorize(wire.BindingUpdate(1, BLANK.flags, 0), key, HOME, PEER)
    moved = wire.BindingUpdate(1, BLANK.flags, 0, (*update.options, wire.UnknownOption(99, bytes(6))))
    assert not wire.authorized(encode(moved), key, HOME, PEER)


def test_timestamp_is_that_of_ntp() -> None:
    assert wire.ntp_timestamp(0) == 2_208_988_800 << 32
    assert wire.ntp_timestamp(1_500_000_000) == (2_208_988_801 << 32) + (1 << 31)
    assert wire.ntp_timestamp((2**32 - 2_208_988_800) * 10**9) == 0  # 2036-02-07 06:28:16


seconds = st.integers(-(10**6), 10**6)


@given(now=st.integers(0, 2**33), ahead=seconds)
def test_skew_counts_across_the_end_of_an_era(now: int, ahead: int) -> None:
    own = wire.ntp_timestamp(now * 10**9)
    assert wire.skew(wire.ntp_timestamp((now + ahead) * 10**9), own) == ahead


def test_corrected_timestamp_has_own_seconds_and_their_fraction() -> None:
    assert wire.corrected(0x11111111_22222222, 0x33333333_44444444) == 0x33333333_22222222
