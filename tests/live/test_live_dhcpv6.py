from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

import pytest
from veth import DEADLINE, Link, Namespace, link

from testbed.errors import NotReadyError
from testbed.mip6.dhcpv6 import (
    Association,
    Code,
    LeasedAddress,
    Message,
    MessageType,
    Option,
    Status,
    StatusCode,
    decode,
    encode_association,
)
from testbed.mip6.dhcpv6_client import Client, HomeQuery, Information, Lease
from testbed.mip6.dhcpv6_exchange import RFC8415_TIMERS, Retransmission, Timers
from testbed.mip6.homeinfo import HomeNetworkInfo, HomeNetworkKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and port 546 need root"),
]

POOL = IPv6Network("2001:db8:1::/126")
DNS = IPv6Address("2001:db8:1::53")
FAST = {
    **dict.fromkeys(RFC8415_TIMERS, Retransmission(0.2, 0.4)),
    MessageType.SOLICIT: Retransmission(0.2, 0.4, never_early=True),
}
HOME = HomeQuery(identified=("home.example",), visited=True)
VISITED = HomeNetworkInfo(
    HomeNetworkKind.VISITED,
    prefixes=(IPv6Network("2001:db8:e::/64"),),
    addresses=(IPv6Address("2001:db8:e::1"),),
    fqdns=("ha.asp.example",),
)
IDENTIFIED = HomeNetworkInfo(
    HomeNetworkKind.IDENTIFIED,
    "home.example",
    (IPv6Network("2001:db8:b::/64"),),
    (IPv6Address("2001:db8:b::1"),),
)


def client(*, home: HomeQuery | None = None, timers: Timers = FAST) -> Client:
    return Client("eth0", rng=random.Random(1), home=home, timers=timers)  # noqa: S311 - repeatable


@pytest.fixture
def wire() -> Iterator[Link]:
    with link() as made:
        yield made


def option(name: str, data: str, space: str) -> dict[str, Any]:
    return {"name": name, "data": data, "space": space, "always-send": True}


def kea(directory: Path, *, rapid: bool) -> dict[str, Any]:
    """Kea encodes the home networks from their parts."""
    definitions: list[dict[str, Any]] = []
    for container, code, space in (("vdinf", 50, "visited"), ("idinf", 69, "identified")):
        definitions += [
            {"name": container, "code": code, "space": "dhcp6", "type": "empty", "encapsulate": space},
            {"name": "hnidf", "code": 49, "space": space, "type": "fqdn"},
            {
                "name": "hnp",
                "code": 71,
                "space": space,
                "type": "record",
                "record-types": "uint8, ipv6-address",
            },
            {"name": "haa", "code": 72, "space": space, "type": "ipv6-address"},
            {"name": "haf", "code": 73, "space": space, "type": "fqdn"},
        ]
    return {
        "Dhcp6": {
            "data-directory": str(directory),
            "interfaces-config": {
                "interfaces": ["eth0"],
                "service-sockets-max-retries": 100,
                "service-sockets-retry-wait-time": 20,
            },
            "lease-database": {"type": "memfile", "persist": True, "name": str(directory / "leases.csv")},
            "option-def": definitions,
            "option-data": [
                {"name": "dns-servers", "data": str(DNS)},
                {"name": "domain-search", "data": "home.example, asp.example"},
                {"name": "information-refresh-time", "data": "900"},
                {"name": "vdinf"},
                option("hnp", "64, 2001:db8:e::", "visited"),
                option("haa", "2001:db8:e::1", "visited"),
                option("haf", "ha.asp.example", "visited"),
                {"name": "idinf"},
                option("hnidf", "home.example", "identified"),
                option("hnp", "64, 2001:db8:b::", "identified"),
                option("haa", "2001:db8:b::1", "identified"),
            ],
            "renew-timer": 100,
            "rebind-timer": 160,
            "preferred-lifetime": 200,
            "valid-lifetime": 400,
            "subnet6": [
                {
                    "subnet": "2001:db8:1::/64",
                    "interface": "eth0",
                    "rapid-commit": rapid,
                    "pools": [{"pool": str(POOL)}],
                }
            ],
            "loggers": [{"name": "kea-dhcp6", "severity": "INFO", "output_options": [{"output": "stdout"}]}],
        }
    }


@contextlib.contextmanager
def serving(end: Namespace, directory: Path, *, rapid: bool = False) -> Iterator[None]:
    configuration = directory / "kea.json"
    configuration.write_text(json.dumps(kea(directory, rapid=rapid)), "ascii")
    environment = {"KEA_PIDFILE_DIR": str(directory), "KEA_LOCKFILE_DIR": "none"}
    log = directory / "log"
    with end.daemon("kea-dhcp6", "-c", str(configuration), log=log, environment=environment):
        yield


class Tap:
    """The types of the DHCPv6 messages that pass one end of the wire, in both directions."""

    def __init__(self, end: Namespace) -> None:
        with end.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self.socket.bind((end.interface, 3))
        self.socket.setblocking(False)

    def types(self) -> list[int]:
        found: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.socket.recv(2048)
                if packet[6] == socket.IPPROTO_UDP and {546, 547} & set(struct.unpack("!HH", packet[40:44])):
                    found.append(packet[48])
        return found


def test_stateless_information_from_kea(wire: Link, tmp_path: Path) -> None:
    with serving(wire.there, tmp_path):
        found = wire.here.run(lambda: client(home=HOME).information_request(max_delay=0))
    assert found.dns_servers == (DNS,)
    assert found.domains == ("home.example", "asp.example")
    assert found.refresh == 900
    assert found.home_networks == (VISITED, IDENTIFIED)
    assert found.server[:2] == b"\0\1"  # Kea's own DUID, of type LLT


def test_an_identified_network_that_was_not_asked_is_discarded(wire: Link, tmp_path: Path) -> None:
    home = HomeQuery(identified=("other.example",))
    with serving(wire.there, tmp_path):
        found = wire.here.run(lambda: client(home=home).information_request(max_delay=0))
    assert found.home_networks == ()


@pytest.mark.parametrize("rapid", [True, False])
def test_leases_an_address_from_kea(wire: Link, tmp_path: Path, rapid: bool) -> None:
    tap = Tap(wire.there)

    async def main() -> Lease:
        await client().information_request(max_delay=0)  # Kea is up
        tap.types()
        return await client(home=HOME).solicit(max_delay=0)

    with serving(wire.there, tmp_path, rapid=rapid), tap.socket:
        lease = wire.here.run(main)
        assert tap.types() == ([1, 7] if rapid else [1, 2, 3, 7])
    (leased,) = lease.addresses
    assert leased.address in POOL
    assert (leased.preferred, leased.valid, lease.t1, lease.t2) == (200, 400, 100, 160)
    assert lease.information.dns_servers == (DNS,)
    assert lease.information.home_networks == (VISITED, IDENTIFIED)


def test_a_lease_lives_and_ends(wire: Link, tmp_path: Path) -> None:
    def state(address: IPv6Address) -> tuple[str, str]:
        """Give valid lifetime and state that Kea wrote last for an address."""
        rows = (tmp_path / "leases.csv").read_text("ascii").splitlines()
        row = [r.split(",") for r in rows if r.startswith(f"{address},")][-1]
        return row[2], row[13]

    async def main() -> None:
        dhcp = client()
        lease = await dhcp.solicit(max_delay=0)
        address = lease.addresses[0].address
        for extended in (await dhcp.renew(lease, deadline=5), await dhcp.rebind(lease, deadline=5)):
            assert extended.addresses == lease.addresses
            assert extended.obtained > lease.obtained
            assert extended.information.server == lease.information.server
        await dhcp.release(lease)
        assert state(address)[0] == "0"
        forgotten = await dhcp.renew(lease, deadline=5)
        assert len(forgotten.addresses) == 1
        await dhcp.decline(forgotten)
        assert state(forgotten.addresses[0].address)[1] == "1"
        another = await dhcp.solicit(max_delay=0)
        assert another.addresses[0].address != forgotten.addresses[0].address

    with serving(wire.there, tmp_path, rapid=True):
        wire.here.run(main)


def test_no_server_is_an_error_before_the_deadline(wire: Link) -> None:
    tap = Tap(wire.there)

    async def main() -> None:
        start = asyncio.get_running_loop().time()
        with pytest.raises(NotReadyError, match=r"eth0: no DHCPv6 answer within 0\.5 s"):
            await client().solicit(max_delay=0, deadline=0.5)
        assert asyncio.get_running_loop().time() - start < 0.5 + 1
        with pytest.raises(NotReadyError, match=r"within 0\.1 s"):
            await client().information_request(max_delay=DEADLINE, deadline=0.1)

    with tap.socket:
        wire.here.run(main)
        assert tap.types() == [1, 1]


class Server:
    """Answers as the test wants."""

    def __init__(self, end: Namespace, duid: bytes = b"\0\2server") -> None:
        self.duid = duid
        with end.entered():
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self.socket.bind(("::", 547))
            index = socket.if_nametoindex(end.interface)
            group = socket.inet_pton(socket.AF_INET6, "ff02::1:2") + struct.pack("@I", index)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        self.socket.setblocking(False)
        self.client: Any = None

    async def receive(self) -> Message:
        octets, self.client = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return decode(octets)

    def answer(self, question: Message, kind: MessageType, *options: Option, server: bytes = b"") -> Message:
        identity = (Code.SERVER_ID, server or self.duid), (Code.CLIENT_ID, question.client_id or b"")
        return Message(kind, question.transaction, (*identity, *options))

    def send(self, octets: bytes) -> None:
        self.socket.sendto(octets, self.client)


def association(question: Message, *addresses: LeasedAddress, status: Status | None = None) -> Option:
    (asked,) = question.associations
    given = Association(asked.iaid, addresses=addresses, status=status or Status())
    return Code.IA_NA, encode_association(given)


def test_ignores_what_is_not_for_it(wire: Link) -> None:
    server = Server(wire.there)

    async def main() -> None:
        dhcp = client()
        asking = asyncio.create_task(dhcp.information_request(max_delay=0))
        question = await server.receive()
        assert question.type == MessageType.INFORMATION_REQUEST
        assert question.client_id == b"\0\3\0\1" + wire.here.mac
        assert question.elapsed == 0
        assert question.requested == (23, 24, 32, 83)
        good = server.answer(question, MessageType.REPLY)
        bad = (
            b"",
            good.encode()[:-1],
            replace(good, transaction=good.transaction ^ 1).encode(),
            replace(good, type=MessageType.ADVERTISE).encode(),
            replace(good, type=MessageType.REQUEST).encode(),
            replace(good, options=good.options[:1]).encode(),
            replace(good, options=good.options[1:]).encode(),
            replace(good, options=(good.options[0], (Code.CLIENT_ID, b"\0\3\0\1another"))).encode(),
            replace(good, options=(*good.options, (Code.DNS_SERVERS, bytes(15)))).encode(),
            replace(good, options=(*good.options, (Code.STATUS, b"\0\1busy"))).encode(),
        )
        for octets in bad:
            server.send(octets)
        again = await server.receive()
        assert (again.type, again.transaction) == (question.type, question.transaction)
        assert again.elapsed is not None
        assert 0.1 < again.elapsed < 1
        told = (
            (Code.DNS_SERVERS, DNS.packed),
            (Code.REFRESH_TIME, bytes(4)),
            (Code.INF_MAX_RT, b"\0\0\0\x3c"),
            (Code.SOL_MAX_RT, bytes(4)),
        )
        server.send(replace(good, options=(*good.options, *told)).encode())
        found = await asking
        timers = dhcp._endpoint.timers
        assert timers[MessageType.INFORMATION_REQUEST] == Retransmission(0.2, 60)
        assert timers[MessageType.SOLICIT] == FAST[MessageType.SOLICIT]
        assert found.dns_servers == (DNS,)
        assert found.refresh == 600

    with server.socket:
        wire.here.run(main)


def test_asks_the_server_of_the_highest_preference(wire: Link) -> None:
    server = Server(wire.there)
    leased = LeasedAddress(POOL[1], 50, 100)

    def advertise(question: Message, duid: bytes, preference: int, *options: Option) -> None:
        preferred = (Code.PREFERENCE, bytes((preference,)))
        message = server.answer(question, MessageType.ADVERTISE, preferred, *options, server=duid)
        server.send(message.encode())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = {**FAST, MessageType.SOLICIT: Retransmission(0.6, never_early=True)}
        asking = asyncio.create_task(client(timers=timers).solicit(max_delay=0))
        question = await server.receive()
        given = association(question, leased)
        none_left = Status(StatusCode.NO_ADDRS_AVAIL)
        advertise(question, b"low", 10, given)
        advertise(question, b"high", 20, given)
        advertise(question, b"none", 30, association(question, status=none_left))
        advertise(question, b"equal", 20, given)
        request = await server.receive()
        assert (request.type, request.server_id) == (MessageType.REQUEST, b"high")
        assert request.associations[0].addresses == (LeasedAddress(leased.address, 0, 0),)
        # Refused: it starts over, and an Advertise of preference 255 is taken at once.
        refusal = association(request, status=none_left)
        server.send(server.answer(request, MessageType.REPLY, refusal, server=b"high").encode())
        question = await server.receive()
        assert question.type == MessageType.SOLICIT
        assert question.rapid_commit
        advertise(question, b"best", 255, given)
        start = loop.time()
        request = await server.receive()
        assert loop.time() - start < 0.5
        malformed = (Code.DNS_SERVERS, bytes(15))
        server.send(server.answer(request, MessageType.REPLY, given, malformed, server=b"best").encode())
        for duid in (b"high", b"best"):
            server.send(server.answer(request, MessageType.REPLY, given, server=duid).encode())
        lease = await asking
        assert lease.information.server == b"best"
        assert lease.addresses == (leased,)
        assert lease.information.refresh == 86400
        assert (lease.t1, lease.t2) == (25, 40)

    with server.socket:
        wire.here.run(main)


def test_a_server_that_forgets_and_withdraws_a_lease(wire: Link) -> None:
    server = Server(wire.there)

    async def main() -> None:
        dhcp = client()
        asking = asyncio.create_task(dhcp.solicit(max_delay=0))
        question = await server.receive()
        endless = association(question, LeasedAddress(POOL[1], 0xFFFFFFFF, 0xFFFFFFFF))
        early = association(question, LeasedAddress(POOL[2], 50, 100))
        server.send(server.answer(question, MessageType.REPLY, early).encode())  # without rapid commit
        server.send(server.answer(question, MessageType.REPLY, (Code.RAPID_COMMIT, b""), endless).encode())
        lease = await asking
        assert lease.addresses[0].address == POOL[1]
        assert lease.t1 == lease.t2 == float("inf")
        renewing = asyncio.create_task(dhcp.renew(lease, deadline=5))
        question = await server.receive()
        forgot = association(question, status=Status(StatusCode.NO_BINDING))
        server.send(server.answer(question, MessageType.REPLY, forgot).encode())
        question = await server.receive()
        assert (question.type, question.server_id) == (MessageType.REQUEST, server.duid)
        server.send(server.answer(question, MessageType.REPLY, endless).encode())
        assert (await renewing).addresses == lease.addresses
        renewing = asyncio.create_task(dhcp.renew(lease, deadline=5))
        question = await server.receive()
        gone = association(question, LeasedAddress(POOL[1], 0, 0))
        server.send(server.answer(question, MessageType.REPLY, gone).encode())
        with pytest.raises(NotReadyError, match="did not answer RENEW with a lease") as caught:
            await renewing
        assert caught.value.evidence[-1] == "REPLY: no usable address"

    with server.socket:
        wire.here.run(main)


def test_gives_up_a_release_that_nobody_answers(wire: Link) -> None:
    timers = {**FAST, MessageType.RELEASE: Retransmission(0.02, 0, 4)}
    information = Information(b"\0\2server", (), (), 600, ())
    lease = Lease(1, (LeasedAddress(POOL[1], 50, 100),), 25, 40, 0, information)
    tap = Tap(wire.there)

    async def main() -> None:
        dhcp = client(timers=timers)
        with pytest.raises(NotReadyError, match="no answer to 4 times RELEASE"):
            await dhcp.release(lease)
        assert tap.types() == [8] * 4
        releasing = asyncio.create_task(dhcp.release(lease))
        await asyncio.sleep(0)
        wire.here.command("ip", "link", "set", "eth0", "down")
        with pytest.raises(NotReadyError, match="4 times") as caught:
            await releasing
        assert caught.value.evidence[-1].startswith("RELEASE not sent")
        with pytest.raises(NotReadyError, match="no usable link-local address"):
            await dhcp.solicit(max_delay=0)

    with tap.socket:
        wire.here.run(main)
