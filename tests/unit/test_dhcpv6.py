from __future__ import annotations

import random
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import WireError
from testbed.mip6.dhcpv6 import (
    Association,
    Code,
    LeasedAddress,
    Message,
    MessageType,
    Option,
    Status,
    decode,
    decode_association,
    decode_options,
    duid_ll,
    encode_association,
    encode_options,
    encode_status,
)
from testbed.mip6.dhcpv6_client import HomeQuery
from testbed.mip6.dhcpv6_exchange import RFC8415_TIMERS, Retransmission
from testbed.mip6.homeinfo import HomeNetworkInfo, HomeNetworkKind, encode_home_network, home_networks
from testbed.mip6.names import encode_name

# Messages of Kea 2.2.0, recorded on a veth pair.
KEA_REPLY = bytes.fromhex(
    "07d8f16a 0001000a 00030001020000000001 0002000e 00010001329811e0020000000002"
    "00170010 20010db8000100000000000000000053"
    "0018001b 04686f6d65076578616d706c6500 0361737007 6578616d706c6500"
    "00200004 00000384"
    "0032003d 00470011 4020010db8000e00000000000000000000 00480010 20010db8000e00000000000000000001"
    "         00490010 02686103617370076578616d706c6500"
    "0045003b 0031000e 04686f6d65076578616d706c6500"
    "         00470011 4020010db8000b00000000000000000000 00480010 20010db8000b00000000000000000001"
)
KEA_ADVERTISE = bytes.fromhex(
    "02d8f16a 0001000a 00030001020000000001 0002000e 00010001329811e0020000000002"
    "00030028 00000001 00000064 000000a0"
    "         00050018 20010db8000100000000000000000000 000000c8 00000190"
    "00170010 20010db8000100000000000000000053"
    "0018001b 04686f6d65076578616d706c6500 0361737007 6578616d706c6500"
)
DUID = bytes.fromhex("00030001020000000001")
HA = IPv6Address("2001:db8:b::1")

uint32 = st.integers(0, 0xFFFFFFFF)
addresses = st.ip_addresses(v=6)
agents = addresses.filter(lambda a: not (a.is_multicast or a.is_unspecified or a.is_loopback or a.is_link_local))
options = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=6).map(tuple)
messages = st.builds(Message, st.sampled_from(MessageType), st.integers(0, 0xFFFFFF), options)
statuses = st.builds(Status, st.integers(0, 0xFFFF), st.text(max_size=20))
lifetimes = st.tuples(uint32, uint32).map(sorted)
leased = st.builds(lambda a, t, s: LeasedAddress(a, t[0], t[1], s), addresses, lifetimes, statuses)
associations = st.builds(Association, uint32, uint32, uint32, st.lists(leased, max_size=3).map(tuple), statuses)
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
names = st.lists(labels, min_size=1, max_size=3).map(".".join)
networks = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False), addresses, st.integers(0, 128)
)
home = st.builds(
    lambda kind, name, prefixes, found, fqdns: HomeNetworkInfo(
        kind,
        name if kind == HomeNetworkKind.IDENTIFIED else "",
        tuple(prefixes),
        tuple(found),
        tuple(fqdns),
    ),
    st.sampled_from(HomeNetworkKind),
    names,
    st.lists(networks, max_size=2),
    st.lists(agents, min_size=1, max_size=2),
    st.lists(names, max_size=2),
)


def read_everything(message: Message) -> None:
    for name in (
        "client_id",
        "server_id",
        "associations",
        "requested",
        "elapsed",
        "preference",
        "refresh_time",
        "sol_max_rt",
        "inf_max_rt",
        "status",
        "rapid_commit",
        "dns_servers",
        "domains",
    ):
        try:
            getattr(message, name)
        except WireError:
            continue
    home_networks(message.options, ("home.example",))


@given(messages)
def test_what_is_encoded_decodes_to_the_same(message: Message) -> None:
    assert decode(message.encode()) == message
    read_everything(message)


@given(st.binary(max_size=200))
def test_noise_is_a_message_or_a_wire_error(octets: bytes) -> None:
    try:
        message = decode(octets)
    except WireError:
        return
    assert message.encode() == octets
    read_everything(message)


@given(st.integers(0, len(KEA_REPLY) - 1), st.integers(1, 255), st.booleans())
def test_a_damaged_message_of_kea(at: int, change: int, advertise: bool) -> None:
    octets = bytearray(KEA_ADVERTISE if advertise else KEA_REPLY)
    octets[at % len(octets)] ^= change
    try:
        message = decode(bytes(octets))
    except WireError:
        return
    read_everything(message)


@given(associations)
def test_associations_round_trip(association: Association) -> None:
    assert decode_association(encode_association(association)) == association


@given(st.lists(home, max_size=3))
def test_home_networks_round_trip(found: list[HomeNetworkInfo]) -> None:
    asked = [network.identifier for network in found]
    assert home_networks(map(encode_home_network, found), asked) == tuple(found)


def test_a_reply_of_kea() -> None:
    message = decode(KEA_REPLY)
    assert (message.type, message.transaction) == (MessageType.REPLY, 0xD8F16A)
    assert message.client_id == DUID == duid_ll(bytes.fromhex("020000000001"))
    assert message.server_id == bytes.fromhex("00010001329811e0020000000002")
    assert message.dns_servers == (IPv6Address("2001:db8:1::53"),)
    assert message.domains == ("home.example", "asp.example")
    assert message.refresh_time == 900
    assert (message.status, message.preference, message.rapid_commit) == (Status(), 0, False)
    visited = HomeNetworkInfo(
        HomeNetworkKind.VISITED,
        prefixes=(IPv6Network("2001:db8:e::/64"),),
        addresses=(IPv6Address("2001:db8:e::1"),),
        fqdns=("ha.asp.example",),
    )
    identified = HomeNetworkInfo(HomeNetworkKind.IDENTIFIED, "home.example", (IPv6Network("2001:db8:b::/64"),), (HA,))
    assert home_networks(message.options, ["HOME.example."]) == (visited, identified)
    assert home_networks(message.options) == (visited,)
    assert [encode_home_network(network) for network in (visited, identified)] == list(message.options[-2:])
    assert message.encode() == KEA_REPLY


def test_an_advertise_of_kea() -> None:
    message = decode(KEA_ADVERTISE)
    address = LeasedAddress(IPv6Address("2001:db8:1::"), 200, 400)
    assert message.associations == (Association(1, 100, 160, (address,)),)
    assert encode_association(message.associations[0]) == message.first(Code.IA_NA)


def test_the_numbers_of_a_client() -> None:
    asked = (
        (Code.ELAPSED_TIME, b"\x01\x2c"),
        (Code.ORO, bytes.fromhex("00170018")),
        (Code.PREFERENCE, b"\xff"),
        (Code.SOL_MAX_RT, b"\0\0\0\x78"),
        (Code.INF_MAX_RT, b"\0\0\0\x3c"),
        (Code.RAPID_COMMIT, b""),
    )
    message = Message(MessageType.SOLICIT, 1, asked)
    assert (message.elapsed, message.requested, message.preference) == (3.0, (23, 24), 255)
    assert (message.sol_max_rt, message.inf_max_rt, message.rapid_commit) == (120, 60, True)
    assert Message(MessageType.SOLICIT, 1).elapsed is None


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "shorter"),
        (b"\7\0\0", "shorter"),
        (b"\0\0\0\0", "type 0"),
        (b"\x0c" + bytes(33), "type 12"),
        (b"\7\0\0\0\0\1", "without its header"),
        (b"\7\0\0\0\0\1\0\2\0", "option 1 of 2 octets is cut off"),
    ],
)
def test_what_is_no_message(octets: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(octets)


@pytest.mark.parametrize(
    ("name", "code", "octets"),
    [
        ("requested", Code.ORO, b"\0"),
        ("elapsed", Code.ELAPSED_TIME, b"\0"),
        ("preference", Code.PREFERENCE, b""),
        ("refresh_time", Code.REFRESH_TIME, bytes(5)),
        ("status", Code.STATUS, b"\0"),
        ("dns_servers", Code.DNS_SERVERS, bytes(17)),
        ("domains", Code.DOMAIN_LIST, b"\4home"),
        ("domains", Code.DOMAIN_LIST, b"\4home\xc0\0"),
        ("associations", Code.IA_NA, bytes(11)),
        ("associations", Code.IA_NA, bytes(12) + b"\0\5\0\x17" + bytes(23)),
        ("associations", Code.IA_NA, bytes(12) + b"\0\5\0\x18" + bytes(23)),
    ],
)
def test_a_malformed_option(name: str, code: Code, octets: bytes) -> None:
    with pytest.raises(WireError):
        getattr(Message(MessageType.REPLY, 1, ((code, octets),)), name)


def test_lifetimes_that_contradict_each_other() -> None:
    good, bad = LeasedAddress(HA, 1, 2), LeasedAddress(HA, 2, 1)
    kept = Association(1, 10, 20, (bad, good))
    endless = Association(2, 10, 0, (good,))
    given_ = (kept, Association(3, 20, 10, (good,)), endless)
    message = Message(MessageType.REPLY, 1, tuple((Code.IA_NA, encode_association(a)) for a in given_))
    assert message.associations == (Association(1, 10, 20, (good,)), endless)


def test_a_status_in_words() -> None:
    assert str(Status(2, "none left")) == "NO_ADDRS_AVAIL none left"
    assert str(Status(77)) == "status 77"
    assert encode_status(Status()) == ()
    ((code, octets),) = encode_status(Status(2, "none"))
    assert (code, octets) == (13, b"\0\2none")
    assert Message(MessageType.REPLY, 1, ((13, b"\0\1\xff"),)).status == Status(1, "\ufffd")


def container(code: Code, *inside: Option) -> tuple[Option, ...]:
    return ((code, encode_options(inside)),)


ID = (Code.HOME_NETWORK_ID, encode_name("home.example"))
OTHER = (Code.HOME_NETWORK_ID, encode_name("other.example"))
PREFIX = (Code.HOME_PREFIX, b"\x40" + IPv6Address("2001:db8:b::").packed)
AGENT = (Code.HOME_AGENT_ADDRESS, HA.packed)
FQDN = (Code.HOME_AGENT_FQDN, encode_name("ha.home.example"))


# RFC 6610 section 4.1.2
@pytest.mark.parametrize(
    "found",
    [
        (ID, PREFIX, AGENT, FQDN),  # outside of a container
        container(Code.IDENTIFIED, OTHER, PREFIX, AGENT),  # was not asked
        container(Code.IDENTIFIED, PREFIX, AGENT),  # without an identifier
        container(Code.IDENTIFIED, ID, ID, AGENT),
        container(Code.IDENTIFIED, ID, PREFIX),  # without a home agent
        container(Code.VISITED, PREFIX),
        container(Code.UNRESTRICTED),
        container(Code.VISITED, AGENT, (Code.HOME_PREFIX, PREFIX[1][:-1])),
        container(Code.VISITED, AGENT, (Code.HOME_PREFIX, b"\x81" + PREFIX[1][1:])),
        container(Code.VISITED, AGENT, (Code.HOME_AGENT_ADDRESS, bytes(15))),
        container(Code.VISITED, AGENT, (Code.HOME_AGENT_ADDRESS, bytes(16))),
        container(Code.VISITED, (Code.HOME_AGENT_ADDRESS, IPv6Address("ff02::1").packed)),
        container(Code.VISITED, AGENT, (Code.HOME_AGENT_FQDN, b"\2ha")),
        ((Code.VISITED, encode_options((AGENT,))[:-1]),),
    ],
)
def test_home_networks_that_are_discarded(found: tuple[Option, ...]) -> None:
    good = container(Code.UNRESTRICTED, FQDN)
    kept = HomeNetworkInfo(HomeNetworkKind.UNRESTRICTED, fqdns=("ha.home.example",))
    assert home_networks((*found, *good), ("home.example",)) == (kept,)


def test_the_order_of_home_agents_is_kept() -> None:
    second = IPv6Address("64:ff9b::192.0.2.1")
    found = container(Code.VISITED, AGENT, PREFIX, (Code.HOME_AGENT_ADDRESS, second.packed))
    (network,) = home_networks(found)
    assert network.addresses == (HA, second)


def test_host_bits_of_a_home_prefix_are_cleared() -> None:
    prefix = (Code.HOME_PREFIX, b"\x40" + HA.packed)
    (network,) = home_networks(container(Code.VISITED, prefix, FQDN))
    assert network.prefixes == (IPv6Network("2001:db8:b::/64"),)


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        (HomeQuery(), ()),
        (HomeQuery(visited=True), (50, 49, 71, 72, 73)),
        (HomeQuery(unrestricted=True), (70, 49, 71, 72, 73)),
        (HomeQuery(identified=("a.example",), visited=True), (50, 69, 49, 71, 72, 73)),
    ],
)
def test_what_a_query_requests(query: HomeQuery, codes: tuple[int, ...]) -> None:
    assert query.codes == codes


class Jitter(random.Random):
    """Always the same share of the interval."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


# RFC 8415 section 15
@pytest.mark.parametrize(
    ("share", "timeouts"),
    [
        (0.5, [1, 2, 4, 8, 16, 30, 30]),
        (1.0, [1.1, 2.31, 4.851, 10.1871, 21.39291, 33, 33]),
        (0.0, [0.9, 1.71, 3.249, 6.1731, 11.72889, 22.284891, 27]),
    ],
)
def test_timeouts_double_up_to_the_longest(share: float, timeouts: list[float]) -> None:
    previous, found = 0.0, []
    for _ in timeouts:
        previous = RFC8415_TIMERS[MessageType.REQUEST].after(previous, Jitter(share))
        found.append(previous)
    assert found == pytest.approx(timeouts)


@given(st.integers())
def test_timeouts_of_any_randomness(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - repeatable
    first = RFC8415_TIMERS[MessageType.SOLICIT].after(0, rng)
    assert 1 <= first <= 1.1
    assert 1.9 * first <= Retransmission(1).after(first, rng) <= 2.1 * first
    assert 9 <= Retransmission(1, 10).after(8, rng) <= 11


def test_options_from_an_offset() -> None:
    assert decode_options(b"xx\0\x0e\0\0", 2) == ((14, b""),)
