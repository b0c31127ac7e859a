"""Names of mobile nodes: RFC 5026 sections 6 and 8, against a small DNS server on ::1 that checks signatures."""

from __future__ import annotations

import asyncio
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdatatype
import dns.tsig
import pytest
from samples import wait_for

from testbed.mip6 import dns_update
from testbed.mip6.dns_update import HomeNames, Zone
from testbed.mip6.wire import DnsStatus, DnsUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HOME, OTHER = IPv6Address("2001:db8:a::1001"), IPv6Address("2001:db8:a::1002")
NAME = "mn1.carrier.example"
KEY = "AAECAwQFBgcICQoLDA0ODw=="
ALLOWED = {"mn1@corp.example": NAME, "mn2@corp.example": "mn2.carrier.example"}
WISH = DnsUpdate(NAME)


class Server(asyncio.DatagramProtocol):
    """Takes updates under one key, and notes them."""

    def __init__(self, rcode: dns.rcode.Rcode, key: str) -> None:
        self.rcode = rcode
        self.key = dns.tsig.Key("ha1.carrier.example", key, dns.tsig.HMAC_SHA256)
        self.seen: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            update = dns.message.from_wire(data, keyring=self.key)
        except dns.tsig.BadSignature:
            return
        assert update.had_tsig
        for rrset in update.sections[2]:
            kind = dns.rdatatype.to_text(rrset.rdtype)
            # RFC 2136 section 2.5: class ANY deletes an RRset, class NONE a record
            how = "add" if rrset.deleting is None else "delete"
            self.seen.append(" ".join((how, rrset.name.to_text(), kind, *map(str, rrset))))
        answer = dns.message.make_response(update)
        answer.set_rcode(self.rcode)
        self.transport.sendto(answer.to_wire(), addr)


def played(
    scene: Callable[[HomeNames, Server], Coroutine[None, None, None]],
    monkeypatch: pytest.MonkeyPatch,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    key: str = KEY,
) -> None:
    """Play a scene with a home agent's names and a server."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(lambda: Server(rcode, key), local_addr=("::1", 0))
        port = transport.get_extra_info("sockname")[1]
        monkeypatch.setattr(dns.asyncquery, "udp", partial(dns.asyncquery.udp, port=port))
        monkeypatch.setattr(dns_update, "_TIMEOUT", 0.2)
        zone = Zone("carrier.example", (IPv6Address("::1"),), "ha1.carrier.example", KEY, ALLOWED)
        try:
            await scene(HomeNames(zone), server)
        finally:
            transport.close()

    wait_for(scenario())


def test_a_record_is_written_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        assert await names.fulfil("mn1@corp.example", HOME, WISH) == DnsUpdate(NAME, status=0)
        assert server.seen == [f"delete {NAME}. AAAA", f"add {NAME}. AAAA {HOME}"]
        gone = DnsUpdate(NAME, remove=True)
        assert await names.fulfil("mn1@corp.example", HOME, gone) == gone
        assert server.seen[2:] == [f"delete {NAME}. AAAA {HOME}"]
        await names.remove(HOME)
        assert len(server.seen) == 3

    played(scene, monkeypatch)


@pytest.mark.parametrize("name", ["MN1.Carrier.Example", "mn1.carrier.example."])
def test_case_and_a_final_dot_do_not_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        assert (await names.fulfil("mn1@corp.example", HOME, DnsUpdate(name))).status == DnsStatus.PERFORMED
        assert server.seen[-1] == f"add {NAME}. AAAA {HOME}"

    played(scene, monkeypatch)


def test_a_binding_that_ends_takes_its_record_along(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        await names.fulfil("mn1@corp.example", HOME, WISH)
        await names.remove(OTHER)
        await names.remove(HOME)
        await names.remove(HOME)
        assert server.seen[2:] == [f"delete {NAME}. AAAA {HOME}"]

    played(scene, monkeypatch)


def test_a_record_that_is_kept_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        await names.fulfil("mn1@corp.example", HOME, WISH)
        names.keep(HOME)
        await names.remove(HOME)
        assert len(server.seen) == 2

    played(scene, monkeypatch)


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("mn2@corp.example", NAME),
        ("mn3@corp.example", NAME),
        ("mn1@corp.example", "ha1.carrier.example"),
        ("mn1@corp.example", "mn1.carrier.example.org"),
    ],
    ids=["of-another", "of-a-stranger", "of-the-home-agent", "of-another-domain"],
)
@pytest.mark.parametrize("remove", [False, True])
def test_another_name_is_prohibited_5026_8_1(
    identity: str, name: str, remove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        answer = await names.fulfil(identity, HOME, DnsUpdate(name, remove))
        assert answer.status == DnsStatus.ADMINISTRATIVELY_PROHIBITED
        assert server.seen == []

    played(scene, monkeypatch)


def test_without_a_zone_every_name_is_prohibited() -> None:
    async def scene() -> None:
        names = HomeNames(None)
        answer = await names.fulfil("mn1@corp.example", HOME, WISH)
        assert answer.status == DnsStatus.ADMINISTRATIVELY_PROHIBITED
        await names.remove(HOME)

    wait_for(scene())


@pytest.mark.parametrize("rcode", [dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NOTAUTH])
def test_a_server_that_refuses_means_failed(rcode: dns.rcode.Rcode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        assert (await names.fulfil("mn1@corp.example", HOME, WISH)).status == DnsStatus.FAILED
        number = len(server.seen)
        await names.remove(HOME)  # nothing was written
        assert len(server.seen) == number

    played(scene, monkeypatch, rcode)


def test_a_server_with_another_key_means_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        assert (await names.fulfil("mn1@corp.example", HOME, WISH)).status == DnsStatus.FAILED
        assert server.seen == []

    played(scene, monkeypatch, key="AAAAAAAAAAAAAAAAAAAAAA==")


def test_updates_of_a_home_address_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(names: HomeNames, server: Server) -> None:
        await names.fulfil("mn1@corp.example", HOME, WISH)
        await asyncio.gather(names.remove(HOME), names.fulfil("mn1@corp.example", HOME, WISH))
        assert [entry.split()[0] for entry in server.seen] == ["delete", "add", "delete", "delete", "add"]

    played(scene, monkeypatch)


def test_the_key_does_not_show() -> None:
    assert KEY not in repr(Zone("carrier.example", (), "ha1.carrier.example", KEY, ALLOWED))
