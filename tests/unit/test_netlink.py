from __future__ import annotations

import errno
import struct
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import TestbedError, WireError
from testbed.netlink import (
    INFINITE,
    Address,
    AddressFlag,
    Decapsulate,
    Encapsulate,
    Gone,
    Link,
    Neighbour,
    NeighbourState,
    NetlinkError,
    OperState,
    Present,
    Resolvers,
    Route,
    RouteOrigin,
    RouteType,
    Rule,
    RuleAction,
    Table,
    VethEnd,
    address_add,
    address_del,
    link_add_bridge,
    link_add_veth,
    link_del,
    link_set,
    neighbour_add,
    neighbour_del,
    route_add,
    route_del,
    route_replace,
    rule_add,
    rule_del,
)
from testbed.netlink.constants import Flag, Rtm
from testbed.netlink.decode import decode
from testbed.netlink.session import _chunks
from testbed.netlink.watch import events
from testbed.netlink.wire import (
    Acknowledgement,
    Message,
    attribute,
    decode_acknowledgement,
    encode_message,
    split_attributes,
    split_messages,
    text,
)

if TYPE_CHECKING:
    from testbed.netlink import Request

LEFT = VethEnd("left", 11, "02:00:00:00:00:0b")
RIGHT = VethEnd("right", 12, "02:00:00:00:00:0c")
HOME_ADDRESS = IPv6Address("2001:db8::1")


def decoded(kind: Rtm, body: bytes) -> list[object]:
    return list(decode(Message(kind, 0, 1, body)))


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert attribute(3, b"lo\0") == struct.pack("=HH", 7, 3) + b"lo\0\0"


def test_a_text_ends_with_a_zero_octet() -> None:
    assert text(3, "eth0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=70)))
def test_attributes_survive_a_round_trip(attributes: dict[int, bytes]) -> None:
    octets = b"".join(attribute(kind, payload) for kind, payload in attributes.items())
    assert split_attributes(octets) == attributes


def test_the_nested_bit_is_no_part_of_the_type() -> None:
    assert split_attributes(attribute(0x8000 | 18, b"")) == {18: b""}


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=70))))
def test_messages_survive_a_round_trip(messages: list[tuple[int, int, bytes]]) -> None:
    padded = [(kind, sequence, body + bytes(-len(body) % 4)) for kind, sequence, body in messages]
    datagram = b"".join(encode_message(kind, 5, sequence, body) for kind, sequence, body in padded)
    assert list(split_messages(datagram)) == [Message(kind, 5, sequence, body) for kind, sequence, body in padded]


@pytest.mark.parametrize(
    "datagram",
    [
        bytes(15),
        struct.pack("=IHHII", 15, 16, 0, 1, 0),
        struct.pack("=IHHII", 17, 16, 0, 1, 0),
        struct.pack("=IHHII", 0, 16, 0, 1, 0),
        encode_message(16, 0, 1, b"") + b"\1",
    ],
)
def test_a_datagram_with_a_false_length_is_refused(datagram: bytes) -> None:
    with pytest.raises(WireError, match="netlink message"):
        list(split_messages(datagram))


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_with_a_false_length_is_refused(length: int) -> None:
    with pytest.raises(WireError, match=f"attribute of length {length}"):
        split_attributes(struct.pack("=HH", length, 1) + bytes(4))


@given(st.sampled_from(Rtm), st.binary(max_size=120))
def test_noise_raises_no_error_but_ours(kind: Rtm, body: bytes) -> None:
    try:
        events(Message(kind, 0, 1, body))
    except WireError:
        return


@given(st.binary(max_size=200))
def test_a_noisy_datagram_raises_no_error_but_ours(datagram: bytes) -> None:
    try:
        for message in split_messages(datagram):
            decode_acknowledgement(message)
    except WireError:
        return


def test_an_acknowledgement_without_attributes() -> None:
    message = Message(2, Flag.CAPPED, 1, struct.pack("=i", 0) + bytes(16))
    assert decode_acknowledgement(message) == Acknowledgement(0)


def test_the_reason_of_a_refusal_is_read_after_a_capped_header() -> None:
    body = struct.pack("=i", -errno.EEXIST) + bytes(16) + text(1, "address already assigned")
    message = Message(2, Flag.CAPPED | Flag.ACK_ATTRIBUTES, 1, body)
    assert decode_acknowledgement(message) == Acknowledgement(errno.EEXIST, "address already assigned")


def test_the_reason_of_a_refusal_is_read_after_the_quoted_request() -> None:
    quoted = encode_message(Rtm.NEWLINK, 5, 1, bytes(16) + text(3, "eth0"))
    body = struct.pack("=i", -errno.EINVAL) + quoted + text(1, "no")
    message = Message(2, Flag.ACK_ATTRIBUTES, 1, body)
    assert decode_acknowledgement(message) == Acknowledgement(errno.EINVAL, "no")


def test_the_end_of_a_dump_carries_an_error() -> None:
    body = struct.pack("=i", -errno.ENOENT) + text(1, "FIB table does not exist")
    message = Message(3, Flag.ACK_ATTRIBUTES, 1, body)
    assert decode_acknowledgement(message) == Acknowledgement(errno.ENOENT, "FIB table does not exist")


def test_a_bridge_has_its_options_in_the_same_message() -> None:
    request = link_add_bridge("br", 7, group_fwd_mask=8)
    info = split_attributes(split_attributes(request.body, 16)[18])
    assert struct.unpack_from("=BxHiII", request.body) == (0, 0, 7, 0, 0)
    assert info[1] == b"bridge\0"
    assert split_attributes(info[2]) == {5: bytes(4), 9: struct.pack("=H", 8), 23: b"\0"}


def test_a_veth_is_up_on_the_near_side_only() -> None:
    request = link_add_veth(LEFT, RIGHT, peer_namespace=42, mtu=1400, master=7, up=True)
    near = split_attributes(request.body, 16)
    peer = split_attributes(split_attributes(near[18])[2])[1]
    far = split_attributes(peer, 16)
    assert struct.unpack_from("=BxHiII", request.body) == (0, 0, 11, 1, 1)
    assert struct.unpack_from("=BxHiII", peer) == (0, 0, 12, 0, 0)
    assert near[3] == b"left\0"
    assert near[10] == struct.pack("=I", 7)
    assert 19 not in near
    assert far == {
        3: b"right\0",
        1: bytes.fromhex("02000000000c"),
        4: struct.pack("=I", 1400),
        19: struct.pack("=I", 42),
    }


def test_both_ends_of_a_veth_need_an_index_of_their_own() -> None:
    with pytest.raises(NetlinkError, match="both ends have index 11") as caught:
        link_add_veth(LEFT, VethEnd("right", 11, "02:00:00:00:00:0c"))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("mac", ["", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:00"])
def test_a_malformed_mac_address_is_refused(mac: str) -> None:
    with pytest.raises(TestbedError, match="no MAC address"):
        link_set("eth0", mac=mac)


def test_a_link_can_be_named_and_taken_out_of_its_bridge() -> None:
    request = link_set("eth0", up=False, master=0)
    assert struct.unpack_from("=BxHiII", request.body) == (0, 0, 0, 0, 1)
    assert split_attributes(request.body, 16) == {3: b"eth0\0", 10: bytes(4)}


def test_a_link_keeps_what_is_not_given() -> None:
    assert link_set(7).body == struct.pack("=BxHiII", 0, 0, 7, 0, 0)


def test_lifetimes_are_preferred_then_valid() -> None:
    request = address_add(3, IPv6Interface("2001:db8::1/64"), flags=AddressFlag.HOME, valid=60, preferred=30)
    assert struct.unpack_from("=BBBBI", request.body) == (10, 64, 0, 0, 3)
    assert split_attributes(request.body, 8) == {
        1: HOME_ADDRESS.packed,
        2: HOME_ADDRESS.packed,
        6: struct.pack("=IIII", 30, 60, 0, 0),
        8: struct.pack("=I", 0x10),
    }


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (link_add_bridge("br", 1), "add bridge br"),
        (link_add_veth(LEFT, RIGHT), "add veth left with peer right"),
        (link_set(1, up=True, mtu=1400), "set link {} to state up, mtu 1400"),
        (link_del("eth0"), "delete link {}"),
        (address_add(1, IPv6Interface("2001:db8::1/64")), "add address 2001:db8::1/64 on {}"),
        (address_add(1, IPv6Interface("::1/128"), replace=True), "replace address ::1/128 on {}"),
        (address_del(1, IPv6Interface("::1/128")), "delete address ::1/128 on {}"),
        (route_add(Route(via=HOME_ADDRESS, device=1)), "add route default via 2001:db8::1 on {}"),
        (
            route_replace(Route(IPv6Network("fd00::/8"), table=220, type=RouteType.UNREACHABLE)),
            "replace unreachable route fd00::/8 in table 220",
        ),
        (route_del(Route(device=1)), "delete route default on {}"),
        (
            rule_add(Rule(5, 220, source=IPv6Network("fd00::/8"), iif="eth0", mark=3, inverted=True)),
            "add rule 5 not from fd00::/8 iif eth0 mark 0x3 table 220",
        ),
        (
            rule_del(Rule(5, destination=IPv6Network("fd00::/8"), action=RuleAction.UNREACHABLE)),
            "delete rule 5 to fd00::/8 unreachable",
        ),
        (neighbour_add(Neighbour(1, HOME_ADDRESS, proxy=True)), "add proxy 2001:db8::1 on {}"),
        (neighbour_del(Neighbour(1, HOME_ADDRESS)), "delete neighbour 2001:db8::1 on {}"),
    ],
)
def test_a_request_names_itself(request_: Request, words: str) -> None:
    assert request_.words == words


networks = st.builds(
    lambda octets, length: IPv6Network((octets, length), strict=False),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 128),
)
addresses = st.binary(min_size=16, max_size=16).map(IPv6Address)
numbers = st.integers(1, INFINITE)


@given(
    st.builds(
        Route,
        networks,
        st.none() | addresses,
        st.integers(0, 0x7FFFFFFF),
        numbers,
        st.integers(0, INFINITE),
        st.none() | addresses,
        st.sampled_from(RouteType),
        st.integers(0, 255),
    )
)
def test_a_route_survives_a_round_trip(route: Route) -> None:
    assert decoded(Rtm.NEWROUTE, route_add(route).body) == [route]


@given(
    st.builds(
        Rule,
        numbers,
        numbers,
        networks,
        networks,
        st.text("abc.-", max_size=15),
        numbers,
        st.integers(0, INFINITE - 1),
        st.integers(0, 255),
        st.booleans(),
        st.sampled_from(RuleAction),
    )
)
def test_a_rule_survives_a_round_trip(rule: Rule) -> None:
    assert decoded(Rtm.NEWRULE, rule_add(rule).body) == [rule]


@given(
    st.builds(
        Neighbour,
        st.integers(1, 0x7FFFFFFF),
        addresses,
        st.just("") | st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":")),
        st.sampled_from(NeighbourState),
        st.booleans(),
    )
)
def test_a_neighbour_survives_a_round_trip(neighbour: Neighbour) -> None:
    assert decoded(Rtm.NEWNEIGH, neighbour_add(neighbour).body) == [neighbour]


@given(
    st.builds(
        Address,
        st.integers(1, 0x7FFFFFFF),
        st.builds(lambda octets, length: IPv6Interface((octets, length)), addresses, st.integers(0, 128)),
        st.sampled_from(AddressFlag),
        st.integers(0, INFINITE),
        st.integers(0, INFINITE),
    )
)
def test_an_address_survives_a_round_trip(address: Address) -> None:
    request = address_add(
        address.device,
        address.interface,
        flags=address.flags,
        valid=address.valid,
        preferred=address.preferred,
    )
    assert decoded(Rtm.NEWADDR, request.body) == [address]


def test_deleting_a_route_does_not_ask_who_made_it() -> None:
    route = Route(device=3, type=RouteType.BLACKHOLE, source=HOME_ADDRESS, origin=RouteOrigin.ROUTER_ADVERTISEMENT)
    found = decoded(Rtm.DELROUTE, route_del(route).body)
    assert found == [Route(device=3, origin=RouteOrigin.UNSPECIFIED)]


def test_a_route_with_two_next_hops_is_two_routes() -> None:
    gateways = IPv6Address("fe80::1"), IPv6Address("fe80::2")
    hops = b"".join(
        struct.pack("=HBBi", 8 + 20, 0, 0, device) + attribute(5, gateway.packed)
        for device, gateway in enumerate(gateways, 3)
    )
    body = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 9, 0, 1, 0) + attribute(9, hops)
    assert decoded(Rtm.NEWROUTE, body) == [
        Route(via=gateway, device=device, origin=RouteOrigin.ROUTER_ADVERTISEMENT)
        for device, gateway in enumerate(gateways, 3)
    ]


@pytest.mark.parametrize("length", [0, 7, 40])
def test_a_next_hop_with_a_false_length_is_refused(length: int) -> None:
    hops = struct.pack("=HBBi", length, 0, 0, 3) + bytes(20)
    body = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 9, 0, 1, 0) + attribute(9, hops)
    with pytest.raises(WireError, match="next hop"):
        decoded(Rtm.NEWROUTE, body)


def test_another_family_is_passed_over() -> None:
    assert decoded(Rtm.NEWADDR, struct.pack("=BBBBI", 2, 8, 0, 0, 1)) == []
    assert decoded(Rtm.NEWROUTE, struct.pack("=BBBBBBBBI", 2, *bytes(8))) == []
    assert decoded(Rtm.NEWRULE, struct.pack("=BBBBBBBBI", 2, *bytes(8))) == []
    assert decoded(Rtm.NEWNEIGH, struct.pack("=BxxxiHBB", 7, 1, 0, 0, 0)) == []


def test_a_bridge_that_loses_a_port_deletes_no_link() -> None:
    assert events(Message(Rtm.DELLINK, 0, 0, struct.pack("=BxHiII", 7, 1, 3, 0, 0) + text(3, "eth0"))) == ()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Rtm.NEWLINK, bytes(15)),
        (Rtm.NEWLINK, bytes(16) + attribute(16, b"\x09")),
        (Rtm.NEWLINK, bytes(16) + attribute(4, b"\1")),
        (Rtm.NEWADDR, struct.pack("=BBBBI", 10, 64, 0, 0, 3)),
        (Rtm.NEWADDR, struct.pack("=BBBBI", 10, 129, 0, 0, 3) + attribute(1, bytes(16))),
        (Rtm.NEWADDR, struct.pack("=BBBBI", 10, 64, 0, 0, 3) + attribute(1, bytes(4))),
        (Rtm.NEWROUTE, struct.pack("=BBBBBBBBI", 10, 8, 0, 0, 254, 0, 0, 1, 0) + attribute(1, b"\1" * 16)),
        (Rtm.NEWROUTE, struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 0, 0, 77, 0)),
        (Rtm.NEWNEIGH, struct.pack("=BxxxiHBB", 10, 3, 0, 0, 0)),
    ],
)
def test_a_malformed_message_is_refused(kind: Rtm, body: bytes) -> None:
    with pytest.raises(WireError, match=f"malformed {kind.name}"):
        decoded(kind, body)


def user_option(option: bytes) -> bytes:
    header = struct.pack("=BxHiBBxxxxxx", 10, len(option), 3, 134, 0)
    return header + option + attribute(1, IPv6Address("fe80::1").packed)


def test_announced_resolvers_are_an_event() -> None:
    option = struct.pack("!BBxxI", 25, 5, 600) + HOME_ADDRESS.packed + IPv6Address("2001:db8::2").packed
    servers = (HOME_ADDRESS, IPv6Address("2001:db8::2"))
    assert events(Message(Rtm.NEWNDUSEROPT, 0, 0, user_option(option))) == (
        Present(Resolvers(3, IPv6Address("fe80::1"), 600, servers)),
    )


def test_another_option_of_a_router_is_passed_over() -> None:
    search_list = struct.pack("!BBxxI", 31, 2, 600) + b"\4home\0\0\0"
    assert events(Message(Rtm.NEWNDUSEROPT, 0, 0, user_option(search_list))) == ()


@pytest.mark.parametrize("eighths", [0, 2, 4])
def test_a_resolver_option_with_a_false_length_is_refused(eighths: int) -> None:
    option = struct.pack("!BBxxI", 25, eighths, 600) + bytes(16)
    with pytest.raises(WireError, match="malformed"):
        events(Message(Rtm.NEWNDUSEROPT, 0, 0, user_option(option)))


def test_only_default_routes_of_the_main_table_are_events() -> None:
    default = Route(via=IPv6Address("fe80::1"), device=3, metric=1024)
    others = Route(IPv6Network("fd00::/8")), Route(table=220)
    assert events(Message(Rtm.DELROUTE, 0, 0, route_add(default).body)) == (Gone(default),)
    assert [events(Message(Rtm.NEWROUTE, 0, 0, route_add(other).body)) for other in others] == [(), ()]


def test_a_rule_or_a_neighbour_is_no_event() -> None:
    assert events(Message(Rtm.NEWRULE, 0, 0, rule_add(Rule(1, Table.MAIN)).body)) == ()


@pytest.mark.parametrize(
    ("flags", "usable"),
    [
        (AddressFlag.PERMANENT, True),
        (AddressFlag.DEPRECATED, True),
        (AddressFlag.TENTATIVE, False),
        (AddressFlag.TENTATIVE | AddressFlag.OPTIMISTIC, True),
        (AddressFlag.TENTATIVE | AddressFlag.DADFAILED, False),
        (AddressFlag.DADFAILED | AddressFlag.OPTIMISTIC, False),
    ],
)
def test_an_address_is_usable_after_or_without_detection(flags: AddressFlag, *, usable: bool) -> None:
    assert Address(1, IPv6Interface("::1/128"), flags, INFINITE, INFINITE).usable is usable


def test_batches_are_cut_by_number() -> None:
    requests = [link_set(index, up=True) for index in range(1, 301)]
    chunks = list(_chunks(requests))
    assert [len(chunk) for chunk in chunks] == [128, 128, 44]
    assert [request for chunk in chunks for request in chunk] == requests


def test_nothing_is_no_batch() -> None:
    assert list(_chunks([])) == []


# What Linux 6.18 sent of a bridge port and of a tentative address; of the link, only the attributes that are
# read and a few of the others.
CAPTURED_LINK = """
    00000100 ea030000 43100100 00000000
    07000300 6d6e0000 08000d00 e8030000 05001000 06000000 05001100 00000000 08000400 dc050000
    08000a00 e9030000 0a000100 02000000 00020000 10001200 09000100 76657468 00000000 04003e80
"""
CAPTURED_ADDRESS = """
    0a40c0fd eb030000 14000100 fe800000 00000000 000000ff fe000003
    14000600 ffffffff ffffffff 15060200 15060200 08000800 c0000000 05000b00 03000000
"""


def test_a_link_of_the_kernel() -> None:
    mac = "02:00:00:00:00:02"
    link = Link(
        1002,
        "mn",
        up=True,
        carrier=True,
        oper_state=OperState.UP,
        mac=mac,
        mtu=1500,
        master=1001,
        kind="veth",
    )
    assert decoded(Rtm.NEWLINK, bytes.fromhex(CAPTURED_LINK)) == [link]


def test_an_address_of_the_kernel() -> None:
    flags = AddressFlag.TENTATIVE | AddressFlag.PERMANENT
    address = Address(1003, IPv6Interface("fe80::ff:fe00:3/64"), flags, INFINITE, INFINITE)
    assert decoded(Rtm.NEWADDR, bytes.fromhex(CAPTURED_ADDRESS)) == [address]


def test_a_route_into_a_tunnel() -> None:
    peer = IPv6Address("2001:db8::2")
    request = route_add(Route(IPv6Network(HOME_ADDRESS), device=7, tunnel=Encapsulate(peer)))
    attributes = split_attributes(request.body, 12)
    assert attributes[21] == struct.pack("=H", 5)
    header = bytes((0, 2, 4, 0, 0, 0, 0, 0)) + peer.packed  # RFC 8754 section 2: one segment, none left
    assert split_attributes(attributes[22]) == {1: struct.pack("=i", 3) + header}
    assert request.words == "add route 2001:db8::1/128 on {} in a tunnel to 2001:db8::2"


def test_a_route_out_of_a_tunnel() -> None:
    request = route_add(Route(IPv6Network(HOME_ADDRESS), device=7, table=41, tunnel=Decapsulate(Table.MAIN)))
    attributes = split_attributes(request.body, 12)
    assert attributes[21] == struct.pack("=H", 7)
    assert split_attributes(attributes[22]) == {1: struct.pack("=I", 7), 3: struct.pack("=I", 254)}
    assert request.words == "add route 2001:db8::1/128 in table 41 on {} out of a tunnel"


def test_a_route_without_a_tunnel_has_no_encapsulation() -> None:
    assert {21, 22}.isdisjoint(split_attributes(route_add(Route(IPv6Network(HOME_ADDRESS), device=7)).body, 12))
