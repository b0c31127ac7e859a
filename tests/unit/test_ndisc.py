from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.errors import WireError
from testbed.mip6 import ndisc
from testbed.mip6.names import decode_name, decode_names, encode_name
from testbed.mip6.wire.checksum import checksum

ROUTER, HOST = IPv6Address("fe80::ff:fe00:2"), IPv6Address("fe80::ff:fe00:1")
TARGET = IPv6Address("2001:db8:a::2")
MAC = bytes.fromhex("020000000001")

# Packets of Linux 6.18 and radvd 2.19, recorded on a veth pair.
KERNEL_NS = bytes.fromhex(
    "6000000000203aff20010db8000a00000000000000000001ff0200000000000000000001ff000002"
    "87001c130000000020010db8000a000000000000000000020101020000000001"
)
KERNEL_NA = bytes.fromhex(
    "6000000000203aff20010db8000a0000000000000000000220010db8000a00000000000000000001"
    "88008a536000000020010db8000a000000000000000000020201020000000002"
)
RADVD_RA = bytes.fromhex(
    "600eaebd00803afffe80000000000000000000fffe000002ff020000000000000000000000000001"
    "8600c9c140e0005a0000000000000000"
    "030440e000000320000001900000000020010db8000a00000000000000000002"
    "190300000000003c20010db8000a00000000000000000053"
    "1f0300000000003c04686f6d65076578616d706c65000000"
    "05010000000005780101020000000002"
    "07010000000000c80801000000070258"
)

uint16, uint32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
addresses = st.ip_addresses(v=6)
unicast = addresses.filter(lambda a: not a.is_multicast and a != ndisc.UNSPECIFIED)
macs = st.none() | st.binary(min_size=6, max_size=6)
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
names = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 253)
lifetimes = st.tuples(uint32, uint32).map(sorted)
prefixes = st.builds(
    lambda address, length, times, bits: ndisc.PrefixInformation(address, length, times[1], times[0], *bits),
    addresses,
    st.integers(0, 128),
    lifetimes,
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
advertisements = st.builds(
    ndisc.RouterAdvertisement,
    hop_limit=st.integers(0, 255),
    managed=st.booleans(),
    other=st.booleans(),
    home_agent=st.booleans(),
    lifetime=uint16,
    reachable_time=uint32,
    retrans_timer=uint32,
    source_mac=macs,
    mtu=st.none() | uint32,
    prefixes=st.lists(prefixes, max_size=3).map(tuple),
    rdnss=st.lists(
        st.builds(ndisc.RecursiveDns, uint32, st.lists(addresses, min_size=1, max_size=3).map(tuple)),
        max_size=2,
    ).map(tuple),
    dnssl=st.lists(
        st.builds(ndisc.DnsSearch, uint32, st.lists(names, min_size=1, max_size=3).map(tuple)), max_size=2
    ).map(tuple),
    interval=st.none() | uint32,
    home_agent_information=st.none() | st.builds(ndisc.HomeAgentInformation, uint16, uint16),
)
messages = (
    st.builds(ndisc.RouterSolicitation, macs)
    | advertisements
    | st.builds(ndisc.NeighborSolicitation, unicast, macs)
    | st.builds(ndisc.NeighborAdvertisement, unicast, st.booleans(), st.booleans(), st.booleans(), macs)
)


def sealed(octets: bytes, source: IPv6Address = ROUTER, destination: IPv6Address = HOST) -> bytes:
    """Put the right checksum in."""
    blank = octets[:2] + bytes(2) + octets[4:]
    return blank[:2] + checksum(source, destination, 58, blank).to_bytes(2, "big") + blank[4:]


@given(messages)
def test_what_is_encoded_decodes_to_the_same(message: ndisc.Message) -> None:
    octets = ndisc.encode(message, ROUTER, HOST)
    assert len(octets) % 8 == 0
    assert ndisc.decode(octets, ROUTER, HOST, 255) == message
    assert ndisc.decode_packet(ndisc.encode_packet(message, ROUTER, HOST)) == (ROUTER, HOST, message)


@given(st.binary(max_size=200), addresses, addresses)
def test_noise_is_only_a_wire_error(octets: bytes, source: IPv6Address, destination: IPv6Address) -> None:
    with pytest.raises(WireError):
        ndisc.decode(octets, source, destination, 255)
    with pytest.raises(WireError):
        ndisc.decode_packet(octets)


@given(st.sampled_from([133, 134, 135, 136]), st.binary(max_size=200))
@example(134, bytes(4))
def test_noise_behind_a_right_checksum_is_a_message_or_a_wire_error(kind: int, rest: bytes) -> None:
    octets = sealed(bytes((kind, 0, 0, 0)) + rest)
    try:
        message = ndisc.decode(octets, ROUTER, HOST, 255)
    except WireError:
        return
    assert ndisc.decode(ndisc.encode(message, ROUTER, HOST), ROUTER, HOST, 255) == message


def test_the_neighbor_messages_of_the_kernel() -> None:
    host, group = IPv6Address("2001:db8:a::1"), IPv6Address("ff02::1:ff00:2")
    question = ndisc.NeighborSolicitation(TARGET, MAC)
    assert ndisc.decode_packet(KERNEL_NS) == (host, group, question)
    assert ndisc.encode_packet(question, host, group) == KERNEL_NS
    answer = ndisc.NeighborAdvertisement(TARGET, False, True, True, bytes.fromhex("020000000002"))
    assert ndisc.decode_packet(KERNEL_NA) == (TARGET, host, answer)
    assert ndisc.encode_packet(answer, TARGET, host) == KERNEL_NA


def test_the_advertisement_of_radvd() -> None:
    source, destination, message = ndisc.decode_packet(RADVD_RA)
    assert (source, destination) == (ROUTER, ndisc.ALL_NODES)
    assert message == ndisc.RouterAdvertisement(
        hop_limit=64,
        managed=True,
        other=True,
        home_agent=True,
        lifetime=90,
        source_mac=bytes.fromhex("020000000002"),
        mtu=1400,
        prefixes=(ndisc.PrefixInformation(TARGET, 64, 800, 400, router_address=True),),
        rdnss=(ndisc.RecursiveDns(60, (IPv6Address("2001:db8:a::53"),)),),
        dnssl=(ndisc.DnsSearch(60, ("home.example",)),),
        interval=200,
        home_agent_information=ndisc.HomeAgentInformation(7, 600),
    )
    assert message.prefixes[0].network == IPv6Network("2001:db8:a::/64")


def test_the_layout_of_a_proxy_advertisement() -> None:
    message = ndisc.NeighborAdvertisement(TARGET, override=True, target_mac=MAC)
    octets = ndisc.encode(message, ROUTER, ndisc.ALL_NODES)
    assert octets[:2] + octets[4:] == bytes.fromhex("8800 20000000 20010db8000a00000000000000000002 0201020000000001")


@pytest.mark.parametrize(
    ("managed", "other", "home_agent", "flags"),
    [(True, False, False, 0x80), (False, True, False, 0x40), (False, False, True, 0x20)],
)
def test_the_flags_of_an_advertisement(managed: bool, other: bool, home_agent: bool, flags: int) -> None:
    message = ndisc.RouterAdvertisement(managed=managed, other=other, home_agent=home_agent)
    assert ndisc.encode(message, ROUTER, HOST)[5] == flags


@pytest.mark.parametrize(
    ("bits", "flags"),
    [((True, False, False), 0x80), ((False, True, False), 0x40), ((False, False, True), 0x20)],
)
def test_the_flags_of_a_prefix(bits: tuple[bool, bool, bool], flags: int) -> None:
    prefix = ndisc.PrefixInformation(TARGET, 64, 2, 1, *bits)
    assert ndisc.encode(ndisc.RouterAdvertisement(prefixes=(prefix,)), ROUTER, HOST)[19] == flags


def test_the_groups_of_an_address() -> None:
    address = IPv6Address("2001:db8::aabb:ccdd:eeff")
    assert ndisc.solicited_node(address) == IPv6Address("ff02::1:ffdd:eeff")
    assert ndisc.multicast_mac(ndisc.solicited_node(address)) == bytes.fromhex("3333ffddeeff")
    assert ndisc.multicast_mac(ndisc.ALL_NODES) == bytes.fromhex("333300000001")


NS, NA = KERNEL_NS[40:], KERNEL_NA[40:]
GROUP = ndisc.solicited_node(TARGET)
ZERO = ndisc.UNSPECIFIED


# RFC 4861 sections 6.1.1, 6.1.2, 7.1.1 and 7.1.2; each octet string has a right checksum.
@pytest.mark.parametrize(
    ("octets", "source", "destination", "hop_limit", "words"),
    [
        (NS, HOST, GROUP, 254, "hop limit 254"),
        (NS[:1] + b"\1" + NS[2:], HOST, GROUP, 255, "code 1"),
        (NS[:23], HOST, GROUP, 255, "too few"),
        (b"\x85" + bytes(6), HOST, GROUP, 255, "too few"),
        (b"\x86" + bytes(14), ROUTER, HOST, 255, "too few"),
        (NS[:24] + bytes.fromhex("01000200000000aa"), HOST, GROUP, 255, "option of 0 octets"),
        (NS[:24] + bytes.fromhex("0e00"), HOST, GROUP, 255, "option of 0 octets"),
        (NS[:24] + bytes.fromhex("01020200000000aa"), HOST, GROUP, 255, "option of 16 octets where 8"),
        (NS[:24] + b"\1", HOST, GROUP, 255, "where 1 are left"),
        (NS, ZERO, GROUP, 255, "source link-layer address"),
        (NS[:24], ZERO, TARGET, 255, "not to its solicited-node group"),
        (NS[:24], ZERO, ndisc.ALL_NODES, 255, "not to its solicited-node group"),
        (NS[:8] + GROUP.packed, HOST, GROUP, 255, "multicast"),
        (NA[:8] + GROUP.packed, HOST, GROUP, 255, "multicast"),
        (NA, TARGET, ndisc.ALL_NODES, 255, "S flag"),
        (b"\x85" + bytes(7) + NS[24:], ZERO, ndisc.ALL_ROUTERS, 255, "source link-layer address"),
        (b"\x86" + bytes(15), TARGET, ndisc.ALL_NODES, 255, "not a link-local address"),
        (b"\x89" + bytes(39), ROUTER, HOST, 255, "type 137"),
        (b"", ROUTER, HOST, 255, "type -1"),
    ],
)
def test_the_validity_checks(
    octets: bytes, source: IPv6Address, destination: IPv6Address, hop_limit: int, words: str
) -> None:
    checked = sealed(octets, source, destination) if octets else octets
    with pytest.raises(WireError, match=words):
        ndisc.decode(checked, source, destination, hop_limit)


def test_every_bit_is_under_the_checksum() -> None:
    for bit in range(8, len(KERNEL_NS[40:]) * 8):
        octets = bytearray(KERNEL_NS)
        octets[40 + bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            ndisc.decode_packet(bytes(octets))


@pytest.mark.parametrize(
    "packet",
    [
        KERNEL_NS[:39],
        KERNEL_NS[:-1],
        b"\x40" + KERNEL_NS[1:],
        KERNEL_NS[:6] + b"\x11" + KERNEL_NS[7:],
    ],
)
def test_what_is_no_whole_ipv6_packet(packet: bytes) -> None:
    with pytest.raises(WireError, match="IPv6"):
        ndisc.decode_packet(packet)


def test_octets_behind_the_payload_are_padding() -> None:
    assert ndisc.decode_packet(KERNEL_NS + bytes(20)) == ndisc.decode_packet(KERNEL_NS)


@pytest.mark.parametrize(
    "option",
    [
        "fd01 000000000000",  # unknown
        "0102 0200000000aa 0000000000000000",  # 14 octets of link-layer address
        "0501 000000000578 0502 000000000578 0000000000000000",  # of two MTUs the first
        "0301 000000000000",  # a prefix without its address
        "0304 81c0 00000002 00000001 00000000 20010db8000a00000000000000000000",  # 129 bits
        "0304 40c0 00000001 00000002 00000000 20010db8000a00000000000000000000",  # preferred above valid
        "1902 00000000003c 20010db8000a0000",  # half a DNS server
        "1901 00000000003c",  # no DNS server
        "1f01 00000000003c",  # no domain
        "1f02 00000000003c 04686f6d65000102",  # a domain that does not end
        "1f02 00000000003c 04686f6dc0000000",  # a compression pointer
        "0702 0000000000c8 0000000000000000",
        "0802 000000070258 0000000000000000",
    ],
)
def test_an_option_that_is_unknown_or_wrong_leaves_the_rest(option: str) -> None:
    plain = ndisc.RouterAdvertisement(mtu=1400, lifetime=90)
    octets = ndisc.encode(plain, ROUTER, HOST) + bytes.fromhex(option)
    assert ndisc.decode(sealed(octets), ROUTER, HOST, 255) == plain


@given(names)
def test_names_round_trip(name: str) -> None:
    wire = encode_name(name.upper() + ".")
    assert wire == encode_name(name)
    assert decode_name(wire) == name
    assert decode_names(wire + wire) == (name, name)
    assert decode_names(wire + bytes(5), padded=True) == (name,)


@given(st.binary(max_size=300), st.booleans())
def test_names_of_noise(octets: bytes, padded: bool) -> None:
    try:
        found = decode_names(octets, padded=padded)
    except WireError:
        return
    assert b"".join(map(encode_name, found)) == octets.lower().rstrip(b"\0") + b"\0" * bool(found)


LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


def test_the_longest_name() -> None:
    assert len(encode_name(LONGEST)) == 255
    assert decode_name(encode_name(LONGEST)) == LONGEST
    with pytest.raises(WireError, match="256 octets"):
        encode_name(LONGEST + "b")
    with pytest.raises(WireError, match="longer than 255"):
        decode_name(encode_name(LONGEST)[:-63] + b"\x3e" + b"b" * 62 + b"\0")


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, "a b", "a\n", "ü.example", "a.."])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(WireError):
        encode_name(name)


@pytest.mark.parametrize(
    "wire",
    [b"", b"\0", b"\1a", b"\1a\0\1b\0", b"\xc0\0", b"\2a", b"\1.\0", b"\1\n\0", b"\1a\0\0", b"\1\xfc\0"],
)
def test_what_is_not_one_name(wire: bytes) -> None:
    with pytest.raises(WireError):
        decode_name(wire)
