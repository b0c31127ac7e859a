from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testbed.netlink import (
    INFINITE,
    Address,
    AddressFlag,
    Event,
    Gone,
    Link,
    Neighbour,
    NeighbourState,
    Netlink,
    NetlinkError,
    OperState,
    Overrun,
    Present,
    Request,
    Resolvers,
    Route,
    RouteOrigin,
    RouteType,
    Rule,
    RuleAction,
    VethEnd,
    Watcher,
    address_add,
    address_del,
    in_namespace,
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
    write_sysctl,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

DEADLINE = 10.0
BRIDGE, PORT, ETH = 1001, 2000, 3000
ADDRESS = IPv6Interface("2001:db8::1/64")
ROUTER = IPv6Address("2001:db8::ff")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never saw {what}"
        time.sleep(0.001)


def namespace_of(process: int | str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


def own_namespace() -> str:
    return namespace_of("thread-self")


class Holders:
    """Processes that hold namespaces; each is ended by its PID."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def make(self, count: int) -> list[int]:
        return [self._make() for _ in range(count)]

    def _make(self) -> int:
        process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        until(lambda: namespace_of(process.pid) != own_namespace(), "a new namespace")
        return process.pid


@pytest.fixture
def holders() -> Iterator[Holders]:
    before = own_namespace()
    with ExitStack() as stack:
        yield Holders(stack)
    assert own_namespace() == before


@pytest.fixture
def node(holders: Holders) -> Iterator[Netlink]:
    """A namespace with a veth pair in it: eth0, and wire whose carrier it needs."""
    pid = holders.make(1)[0]
    with Netlink(pid, node="mn") as netlink:
        netlink.apply(
            link_add_veth(wire(0), eth(0)),
            *(link_set(name, up=True) for name in ("lo", "wire0", "eth0")),
            address_add(ETH, ADDRESS, flags=AddressFlag.NODAD),
        )
        yield netlink


def wire(number: int) -> VethEnd:
    return VethEnd(f"wire{number}", PORT + number, f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")


def eth(number: int) -> VethEnd:
    return VethEnd("eth0", ETH + number, f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}")


def star(switch: int, nodes: list[int]) -> None:
    """Wire each node's eth0 to a bridge in the switch, and set it up."""
    with in_namespace(switch):
        write_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    with Netlink(switch, node="switch") as netlink:
        netlink.apply(
            link_add_bridge("home", BRIDGE, group_fwd_mask=8),
            link_set(BRIDGE, up=True),
            *(
                link_add_veth(wire(at), eth(at), peer_namespace=pid, master=BRIDGE, up=True)
                for at, pid in enumerate(nodes)
            ),
        )
    for at, pid in enumerate(nodes):
        with in_namespace(pid):
            write_sysctl("net/ipv6/conf/default/router_solicitation_delay", 0)
            write_sysctl("net/ipv6/neigh/eth0/retrans_time_ms", 10)
            write_sysctl("net/ipv6/conf/eth0/router_solicitation_delay", 0)
        with Netlink(pid) as netlink:
            netlink.apply(link_set("lo", up=True), link_set(ETH + at, up=True))
    with Netlink(switch) as netlink:
        # A port forwards only once linkwatch has seen its carrier; what is sent before is lost. The bridge
        # itself may take a second longer, which stops no frame.
        until(lambda: all(port.oper_state is OperState.UP for port in ports(netlink)), "all ports up")


def ports(netlink: Netlink) -> list[Link]:
    return [link for link in netlink.links() if link.kind == "veth"]


def holds(netlink: Netlink, interface: IPv6Interface) -> bool:
    return any(address.usable for address in netlink.addresses() if address.interface == interface)


def shown_by_iproute(pid: int, *arguments: str) -> Any:
    with in_namespace(pid):
        output = subprocess.run(["ip", "-j", "-d", *arguments], check=True, capture_output=True).stdout
    return json.loads(output)


async def expect(watcher: Watcher, wanted: Callable[[Event], bool]) -> Event:
    async with asyncio.timeout(DEADLINE):
        async for event in watcher:
            if wanted(event):
                return event
    raise AssertionError("the watcher has no end")


def address_event(interface: str, flags: AddressFlag, kind: type[Present | Gone] = Present) -> Callable[[Event], bool]:
    """Match an event of an address that has these of the flags of DAD."""
    mask = AddressFlag.TENTATIVE | AddressFlag.DADFAILED

    def matches(event: Event) -> bool:
        if not isinstance(event, kind) or not isinstance(event.subject, Address):
            return False
        return event.subject.interface == IPv6Interface(interface) and event.subject.flags & mask == flags

    return matches


# Namespaces


def test_a_thread_returns_from_a_namespace_after_an_error(holders: Holders) -> None:
    (pid,) = holders.make(1)
    before = own_namespace()

    def fail() -> None:
        raise RuntimeError(own_namespace())

    with pytest.raises(RuntimeError) as caught, in_namespace(pid):
        fail()
    assert str(caught.value) == namespace_of(pid)
    assert own_namespace() == before


def test_namespaces_nest(holders: Holders) -> None:
    outer, inner = holders.make(2)
    with in_namespace(outer):
        with in_namespace(inner):
            assert own_namespace() == namespace_of(inner)
        assert own_namespace() == namespace_of(outer)


def test_another_thread_stays_where_it_is(holders: Holders) -> None:
    (pid,) = holders.make(1)
    before, seen = own_namespace(), list[str]()
    entered, asked = threading.Event(), threading.Event()

    def look() -> None:
        entered.wait(DEADLINE)
        seen.append(own_namespace())
        asked.set()

    thread = threading.Thread(target=look)
    thread.start()
    with in_namespace(pid):
        entered.set()
        asked.wait(DEADLINE)
    thread.join(DEADLINE)
    assert seen == [before]


def test_an_open_file_is_a_namespace_too(holders: Holders) -> None:
    switch, pid = holders.make(2)
    with Path(f"/proc/{pid}/ns/net").open("rb") as file, Netlink(switch) as netlink:
        netlink.apply(link_add_veth(wire(0), eth(0), peer_namespace=file))
        with Netlink(file) as other:
            assert other.link("eth0").index == ETH


def test_a_namespace_of_nobody_is_named() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(NetlinkError, match=f"network namespace of process {process.pid}: No such file") as caught:
        Netlink(process.pid)
    assert caught.value.errno == errno.ENOENT


def test_what_is_no_namespace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as file, pytest.raises(NetlinkError, match="Invalid argument"), in_namespace(file):
        pass


def test_a_sysctl_is_written_in_the_namespace(holders: Holders) -> None:
    first, second = holders.make(2)
    path = Path("/proc/sys/net/ipv6/conf/default/hop_limit")
    with in_namespace(first):
        write_sysctl("net/ipv6/conf/default/hop_limit", 77)
        assert path.read_text() == "77\n"
    with in_namespace(second):
        assert path.read_text() == "64\n"


def test_a_sysctl_that_is_not_there_is_named(holders: Holders) -> None:
    (pid,) = holders.make(1)
    with in_namespace(pid), pytest.raises(NetlinkError, match="set net/ipv6/nothing to 1: ") as caught:
        write_sysctl("net/ipv6/nothing", 1)
    assert caught.value.errno in (errno.ENOENT, errno.EACCES)


# Links


def test_a_bridge_neither_learns_a_tree_nor_snoops(holders: Holders) -> None:
    (pid,) = holders.make(1)
    with Netlink(pid) as netlink:
        netlink.apply(link_add_bridge("home", BRIDGE, group_fwd_mask=8))
    shown = next(link for link in shown_by_iproute(pid, "link") if link.get("ifname") == "home")
    data = shown["linkinfo"]["info_data"]
    assert shown["ifindex"] == BRIDGE
    assert (data["stp_state"], data["mcast_snooping"], data["group_fwd_mask"]) == (0, 0, "0x8")


def test_a_star_has_carrier_everywhere(holders: Holders) -> None:
    switch, *nodes = holders.make(3)
    star(switch, nodes)
    with Netlink(switch) as netlink:
        assert [(port.index, port.master, port.carrier) for port in ports(netlink)] == [
            (PORT, BRIDGE, True),
            (PORT + 1, BRIDGE, True),
        ]
    for at, pid in enumerate(nodes):
        with Netlink(pid) as netlink:
            link = netlink.link("eth0")
            assert (link.index, link.mac, link.up, link.carrier) == (ETH + at, eth(at).mac, True, True)


def test_carrier_comes_at_once_as_the_indexes_differ(holders: Holders) -> None:
    switch, pid = holders.make(2)
    began = time.monotonic()

    async def watch() -> None:
        with Watcher(pid) as watcher:
            star(switch, [pid])
            await expect(watcher, lambda event: event_oper_state(event) is OperState.UP)

    asyncio.run(watch())
    assert time.monotonic() - began < 0.5


def event_oper_state(event: Event) -> OperState | None:
    match event:
        case Present(Link(name="eth0", oper_state=state)):
            return state
        case _:
            return None


def test_a_link_is_changed(node: Netlink) -> None:
    node.apply(link_set("eth0", up=False, mtu=1400, mac="02:00:00:00:00:99"))
    link = node.link(ETH)
    assert (link.up, link.carrier, link.mtu, link.mac) == (False, False, 1400, "02:00:00:00:00:99")


def test_a_port_moves_to_another_bridge_and_out(holders: Holders) -> None:
    (switch,) = holders.make(1)

    async def watch() -> list[Event]:
        seen = []
        with Watcher(switch) as watcher:
            with Netlink(switch) as netlink:
                netlink.apply(
                    link_add_bridge("one", BRIDGE),
                    link_add_bridge("two", BRIDGE + 1),
                    link_add_veth(wire(0), eth(0), master=BRIDGE),
                    link_set(PORT, master=BRIDGE + 1),
                )
                assert netlink.link(PORT).master == BRIDGE + 1
                netlink.apply(link_set(PORT, master=0), link_set("lo", up=True))
                assert netlink.link(PORT).master == 0
            async with asyncio.timeout(DEADLINE):
                async for event in watcher:
                    seen.append(event)
                    if isinstance(event, Present) and isinstance(event.subject, Link) and event.subject.name == "lo":
                        break
        return seen

    assert not [event for event in asyncio.run(watch()) if isinstance(event, Gone)]


def test_a_link_moves_to_another_namespace(holders: Holders, node: Netlink) -> None:
    (pid,) = holders.make(1)
    node.apply(link_set(ETH, namespace=pid))
    with Netlink(pid) as netlink:
        link = netlink.link("eth0")
        assert (link.index, link.up, netlink.addresses(ETH)) == (ETH, False, ())


def test_both_ends_of_a_veth_go_together(node: Netlink) -> None:
    node.apply(link_del("wire0"))
    assert [link.name for link in node.links()] == ["lo"]


def test_an_index_can_be_taken_only_once(holders: Holders) -> None:
    (switch,) = holders.make(1)
    with Netlink(switch, node="switch") as netlink:
        twin = VethEnd("eth1", ETH, "02:00:00:00:00:77")
        netlink.apply(link_add_veth(wire(0), eth(0)))
        with pytest.raises(NetlinkError, match="add veth wire1 with peer eth1 of switch: ") as caught:
            netlink.apply(link_add_veth(wire(1), twin))
        assert [link.name for link in netlink.links()] == ["lo", "wire0", "eth0"]
    assert caught.value.errno in (errno.EBUSY, errno.EEXIST)


# Addresses


def test_an_address_keeps_its_flags_and_lifetimes(node: Netlink) -> None:
    home = IPv6Interface("2001:db8::2/128")
    flags = AddressFlag.NODAD | AddressFlag.HOME
    node.apply(address_add(1, home, flags=flags, valid=600, preferred=300))
    (found,) = (address for address in node.addresses(1) if address.interface == home)
    assert found.flags & flags == flags
    assert (found.valid, found.preferred) == (600, 300)
    node.apply(address_add(1, home, flags=flags, valid=900, preferred=0, replace=True))
    (found,) = (address for address in node.addresses() if address.interface == home)
    assert AddressFlag.DEPRECATED in found.flags
    assert (found.valid, found.preferred) == (900, 0)
    node.apply(address_del(1, home))
    assert home not in [address.interface for address in node.addresses()]


def test_an_address_becomes_usable_when_detection_ends(holders: Holders) -> None:
    switch, pid = holders.make(2)
    star(switch, [pid])

    async def watch() -> None:
        with Watcher(pid) as watcher, Netlink(pid) as netlink:
            netlink.apply(address_add(ETH, ADDRESS))
            await expect(watcher, address_event(str(ADDRESS), AddressFlag.TENTATIVE))
            event = await expect(watcher, address_event(str(ADDRESS), AddressFlag(0)))
            assert isinstance(event, Present)
            assert isinstance(event.subject, Address)
            assert event.subject.usable

    asyncio.run(watch())


def test_a_duplicate_is_told_and_stays_unusable(holders: Holders) -> None:
    switch, owner, pid = holders.make(3)
    star(switch, [owner, pid])

    async def watch() -> None:
        with Watcher(pid) as watcher, Netlink(pid) as netlink, Netlink(owner) as other:
            other.apply(address_add(ETH, ADDRESS, flags=AddressFlag.NODAD))
            until(lambda: holds(other, ADDRESS), "the owner's address")
            netlink.apply(address_add(ETH + 1, ADDRESS))
            failed = AddressFlag.TENTATIVE | AddressFlag.DADFAILED
            await expect(watcher, address_event(str(ADDRESS), failed))
            (found,) = (address for address in netlink.addresses() if address.interface == ADDRESS)
            assert not found.usable

    asyncio.run(watch())


def test_a_duplicate_with_a_lifetime_is_gone(holders: Holders) -> None:
    switch, owner, pid = holders.make(3)
    star(switch, [owner, pid])

    async def watch() -> None:
        with Watcher(pid) as watcher, Netlink(pid) as netlink, Netlink(owner) as other:
            other.apply(address_add(ETH, ADDRESS, flags=AddressFlag.NODAD))
            until(lambda: holds(other, ADDRESS), "the owner's address")
            netlink.apply(address_add(ETH + 1, ADDRESS, valid=600, preferred=600))
            failed = AddressFlag.TENTATIVE | AddressFlag.DADFAILED
            await expect(watcher, address_event(str(ADDRESS), failed, Gone))

    asyncio.run(watch())


# Routes, rules, neighbours


def test_a_route_of_another_table_comes_and_goes(node: Netlink) -> None:
    route = Route(via=ROUTER, device=ETH, table=1000, metric=7, source=ADDRESS.ip)
    assert node.routes(1000) == ()
    node.apply(route_add(route))
    assert node.routes(1000) == (route,)
    assert route not in node.routes()
    node.apply(route_del(Route(table=1000)))
    assert node.routes(1000) == ()


def test_a_route_is_replaced_not_doubled(node: Netlink) -> None:
    other = Route(via=IPv6Address("2001:db8::fe"), device=ETH, metric=7)
    node.apply(route_add(Route(via=ROUTER, device=ETH, metric=7)), route_replace(other))
    assert [route for route in node.routes() if route.metric == 7] == [other]


@pytest.mark.parametrize("kind", [RouteType.UNREACHABLE, RouteType.BLACKHOLE])
def test_a_route_can_refuse(node: Netlink, kind: RouteType) -> None:
    destination = IPv6Network("fd00::/8")
    node.apply(route_add(Route(destination, type=kind, table=220)))
    (found,) = node.routes(220)
    assert (found.destination, found.type, found.metric) == (destination, kind, 1024)
    node.apply(route_del(found))
    assert node.routes(220) == ()


def test_a_route_of_the_kernel_can_be_deleted(node: Netlink) -> None:
    (prefix,) = (route for route in node.routes() if route.destination == ADDRESS.network)
    assert prefix.origin == RouteOrigin.KERNEL
    node.apply(route_del(prefix))
    assert prefix not in node.routes()


RULES = [
    Rule(1000, 220, source=IPv6Network("2001:db8::1/128")),
    Rule(1001, 100_000, destination=IPv6Network("fd00::/8"), iif="eth0"),
    Rule(1002, 220, mark=0xDC, inverted=True),
    Rule(1003, 220, mark=1, mark_mask=0xFF, protocol=socket.IPPROTO_IPV6),
    Rule(1004, action=RuleAction.UNREACHABLE),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.priority))
def test_a_rule_comes_and_goes(node: Netlink, rule: Rule) -> None:
    before = node.rules()
    node.apply(rule_add(rule))
    assert [found for found in node.rules() if found not in before] == [rule]
    node.apply(rule_del(rule))
    assert node.rules() == before


def test_iproute_reads_a_rule_as_it_was_meant(holders: Holders) -> None:
    (pid,) = holders.make(1)
    with Netlink(pid) as netlink:
        netlink.apply(rule_add(Rule(9, 220, IPv6Network("fd00::/8"), mark=0xDC, inverted=True)))
    (shown,) = (rule for rule in shown_by_iproute(pid, "-6", "rule") if rule["priority"] == 9)
    assert (shown["src"], shown["srclen"], shown["fwmark"], shown["table"]) == ("fd00::", 8, "0xdc", "220")
    assert "not" in shown


def test_a_proxy_comes_and_goes(node: Netlink) -> None:
    proxy = Neighbour(ETH, IPv6Address("2001:db8::77"), proxy=True, state=NeighbourState(0))
    node.apply(neighbour_add(proxy))
    assert node.neighbours(proxies=True) == (proxy,)
    assert proxy.address not in [neighbour.address for neighbour in node.neighbours()]
    node.apply(neighbour_del(proxy))
    assert node.neighbours(proxies=True) == ()


def test_a_neighbour_comes_and_goes(node: Netlink) -> None:
    neighbour = Neighbour(ETH, ROUTER, "02:00:00:00:00:ff", NeighbourState.PERMANENT, router=True)
    node.apply(neighbour_add(neighbour))
    assert neighbour in node.neighbours()
    node.apply(neighbour_del(neighbour))
    assert neighbour not in node.neighbours()


# Batches and errors


def test_five_hundred_links_in_one_batch(holders: Holders) -> None:
    (switch,) = holders.make(1)
    with Netlink(switch) as netlink:
        netlink.apply(
            link_add_bridge("home", BRIDGE),
            *(
                link_add_veth(wire(at), VethEnd(f"eth{at}", ETH + at, eth(at).mac), master=BRIDGE if at < 250 else 0)
                for at in range(500)
            ),
        )
        links = netlink.links()
    assert len(links) == 1002
    assert sum(link.master == BRIDGE for link in links) == 250


def test_no_answer_is_lost_of_thousands_of_requests(node: Netlink) -> None:
    prefixes = {IPv6Network((at << 64, 64)) for at in range(1, 5001)}
    node.apply(*(route_add(Route(prefix, type=RouteType.UNREACHABLE, table=220)) for prefix in prefixes))
    assert {route.destination for route in node.routes(220)} == prefixes


def test_every_refusal_of_a_datagram_is_told(node: Netlink) -> None:
    request = address_add(ETH, ADDRESS)
    with pytest.raises(NetlinkError) as caught:
        node.apply(*[request] * 1000)
    assert len(caught.value.evidence) == 128
    assert node.link("eth0").index == ETH


def test_an_error_names_what_where_and_why(node: Netlink) -> None:
    with pytest.raises(NetlinkError) as caught:
        node.apply(link_set("lo", up=True), address_add(ETH, ADDRESS), link_set("nothing", up=True))
    texts = [text.split(" (")[0] for text in caught.value.evidence]
    assert texts == [
        "add address 2001:db8::1/64 on eth0 of mn: File exists",
        "set link nothing to state up of mn: No such device",
    ]
    assert str(caught.value) == caught.value.evidence[0]
    assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (link_add_bridge("eth0", BRIDGE), errno.EEXIST),
        (link_del("eth9"), errno.ENODEV),
        (address_del(ETH, IPv6Interface("2001:db8::9/64")), errno.EADDRNOTAVAIL),
        (route_add(Route(ADDRESS.network, device=ETH, metric=256)), errno.EEXIST),
        (route_del(Route(table=220)), errno.ESRCH),
        (rule_del(Rule(5, 220)), errno.ENOENT),
        (neighbour_del(Neighbour(ETH, ROUTER)), errno.ENOENT),
        (neighbour_del(Neighbour(ETH, ROUTER, proxy=True)), errno.ENOENT),
    ],
    ids=lambda value: value.words if isinstance(value, Request) else "",
)
def test_a_refusal_has_its_number(node: Netlink, request_: Request, number: int) -> None:
    with pytest.raises(NetlinkError) as caught:
        node.apply(request_)
    assert caught.value.errno == number


def test_a_second_proxy_is_no_error_but_a_second_neighbour(node: Netlink) -> None:
    proxy, neighbour = Neighbour(ETH, ROUTER, proxy=True), Neighbour(ETH, ROUTER, "02:00:00:00:00:ff")
    node.apply(neighbour_add(proxy), neighbour_add(proxy), neighbour_add(neighbour))
    with pytest.raises(NetlinkError, match="add neighbour 2001:db8::ff on eth0 of mn: File exists"):
        node.apply(neighbour_add(neighbour))


def test_a_link_that_is_gone_is_named_by_its_index(node: Netlink) -> None:
    with pytest.raises(NetlinkError, match=r"delete address 2001:db8::1/64 on index 77 of mn: No such device"):
        node.apply(address_del(77, ADDRESS))


def test_a_look_up_of_nothing_is_named(node: Netlink) -> None:
    with pytest.raises(NetlinkError, match="look up link eth9 of mn: No such device") as caught:
        node.link("eth9")
    assert caught.value.errno == errno.ENODEV


def test_what_was_done_before_a_refusal_stays(node: Netlink) -> None:
    with pytest.raises(NetlinkError, match="add rule 7 table 9"):
        node.apply(rule_add(Rule(7, 9)), rule_add(Rule(7, 9)))
    assert Rule(7, 9) in node.rules()


# Events


def router_advertisement(lifetime: int) -> bytes:
    resolver = struct.pack("!BBxxI", 25, 3, 600) + ROUTER.packed
    return struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime, 0, 0) + resolver


def advertise(pid: int, lifetime: int) -> None:
    """Send a router advertisement out of eth0 (RFC 4861 section 4.2, RFC 8106 section 5.1)."""
    with in_namespace(pid):
        sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.sendto(router_advertisement(lifetime), ("ff02::1", 0, 0, ETH))


def default_route(kind: type[Present | Gone]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind) and isinstance(event.subject, Route)


def test_a_router_and_its_resolvers_come_and_the_router_goes(holders: Holders) -> None:
    switch, router, pid = holders.make(3)
    star(switch, [router, pid])

    async def watch() -> None:
        with Watcher(router) as own:
            with Netlink(router) as netlink:
                addresses = [address for address in netlink.addresses(ETH) if address.usable]
            if not addresses:
                await expect(own, address_event("fe80::ff:fe01:0/64", AddressFlag(0)))
        with Watcher(pid) as watcher:
            advertise(router, 1800)
            event = await expect(watcher, default_route(Present))
            via = IPv6Address("fe80::ff:fe01:0")
            assert event == Present(
                Route(via=via, device=ETH + 1, metric=1024, origin=RouteOrigin.ROUTER_ADVERTISEMENT)
            )
            event = await expect(
                watcher, lambda event: isinstance(event, Present) and not default_route(Present)(event)
            )
            assert event == Present(Resolvers(ETH + 1, via, 600, (ROUTER,)))
            advertise(router, 0)
            await expect(watcher, default_route(Gone))

    asyncio.run(watch())


def test_events_go_on_after_an_overrun(holders: Holders) -> None:
    (pid,) = holders.make(1)

    async def watch() -> None:
        with Watcher(pid, buffer=8192) as watcher, Netlink(pid) as netlink:
            netlink.apply(*(link_add_bridge(f"br{at}", BRIDGE + at) for at in range(100)))
            assert await expect(watcher, lambda event: isinstance(event, Overrun)) == Overrun()
            netlink.apply(link_add_bridge("last", BRIDGE + 100))
            event = await expect(watcher, lambda _: True)
            assert event == Present(netlink.link("last"))

    asyncio.run(watch())


def test_waiting_in_vain_loses_no_event(holders: Holders) -> None:
    (pid,) = holders.make(1)

    async def watch() -> None:
        with Watcher(pid) as watcher, Netlink(pid) as netlink:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watcher), 0.01)
            netlink.apply(link_set("lo", up=True), address_add(1, ADDRESS, flags=AddressFlag.NODAD))
            event = await expect(watcher, address_event(str(ADDRESS), AddressFlag(0)))
            assert isinstance(event, Present)
            assert isinstance(event.subject, Address)
            assert event.subject.valid == INFINITE

    asyncio.run(watch())
