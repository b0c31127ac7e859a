"""The home agent's question to AAA, answered by a server of pyrad's own making."""

from __future__ import annotations

import asyncio
import io
import socket
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import pyrad.dictionary
import pyrad.packet
import pytest
from fakes import AGENT, CARE_OF, HOME

from testbed.mip6 import radius
from testbed.mip6.authentication import MobilityAssociation, Question

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER, SECRET = IPv6Address("::1"), "a shared secret"
QUESTION = Question("mn1@corp.example", CARE_OF, HOME, bytes(range(20)), bytes(range(20, 40)))
KEY = bytes(range(16))
DICTIONARY = pyrad.dictionary.Dictionary(io.StringIO(radius._DICTIONARY))
Reply = Any


def accept(request: Any) -> Reply:
    reply = request.CreateReply()
    reply.request_authenticator = request.authenticator
    reply.AddAttribute("Framed-IPv6-Address", HOME.packed)
    reply.AddAttribute("WiMAX-MN-hHA-MIP6-Key", b"\0" + reply.SaltCrypt(KEY))
    reply.AddAttribute("WiMAX-MN-hHA-MIP6-SPI", b"\0" + (257).to_bytes(4, "big"))
    return reply


class Server(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[Any], Reply | None], secret: str) -> None:
        self.requests: list[Any] = []
        self._answer = answer
        self._secret = secret.encode()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = pyrad.packet.AuthPacket(packet=data, secret=self._secret, dict=DICTIONARY)
        self.requests.append(request)
        reply = self._answer(request)
        if reply is not None:
            self._transport.sendto(reply if isinstance(reply, bytes) else reply.ReplyPacket(), addr)


def asked(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Reply | None], secret: str = SECRET
) -> tuple[MobilityAssociation | None, list[Any]]:
    monkeypatch.setattr(radius, "_TIMEOUTS", (0.05, 0.05))

    async def scene() -> tuple[MobilityAssociation | None, list[Any]]:
        server = Server(answer, secret)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: server, ("::1", 0), family=socket.AF_INET6)
        monkeypatch.setattr(radius, "_PORT", transport.get_extra_info("sockname")[1])
        try:
            found = await radius.Radius(SERVER, SECRET, "ha1.carrier.example", AGENT).authenticate(QUESTION)
        finally:
            transport.close()
        return found, server.requests

    return asyncio.run(scene())


def test_what_is_asked_and_what_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    found, (request,) = asked(monkeypatch, accept)
    assert found == MobilityAssociation("mn1@corp.example", HOME, 257, KEY)
    assert request.code == pyrad.packet.AccessRequest
    assert request.verify_message_authenticator()
    assert {name: request[name] for name in request.keys() if name != "Message-Authenticator"} == {  # noqa: SIM118
        80: request[80],
        "User-Name": ["mn1@corp.example"],
        "NAS-Identifier": ["ha1.carrier.example"],
        "NAS-IPv6-Address": [str(AGENT)],
        "Calling-Station-Id": [str(CARE_OF)],
        "3GPP2-MIP6-Care-of-Address": [str(CARE_OF)],
        "3GPP2-MIP6-HOA-Received-From-BU": [str(HOME)],
        "3GPP2-MIP6-MAC-Mobility-Data": [QUESTION.digest],
        "3GPP2-MIP6-Authenticator": [QUESTION.authenticator],
    }


def test_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(request: Any) -> Reply:
        reply = request.CreateReply()
        reply.code = pyrad.packet.AccessReject
        return reply

    assert asked(monkeypatch, reject)[0] is None


@pytest.mark.parametrize("lacking", ["Framed-IPv6-Address", "WiMAX-MN-hHA-MIP6-Key", "WiMAX-MN-hHA-MIP6-SPI"])
def test_an_acceptance_that_lacks_something(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    def answer(request: Any) -> Reply:
        reply = accept(request)
        del reply[lacking]
        return reply

    assert asked(monkeypatch, answer)[0] is None


def test_no_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, requests = asked(monkeypatch, lambda _: None)
    assert found is None
    assert [request.id for request in requests] == [requests[0].id] * 2


def test_an_answer_to_the_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []

    def second(request: Any) -> Reply | None:
        heard.append(request)
        return accept(request) if len(heard) == 2 else None

    assert asked(monkeypatch, second)[0] is not None


@pytest.mark.parametrize("forgery", ["secret", "authenticator", "unsigned", "noise"])
def test_what_is_not_the_servers_answer(monkeypatch: pytest.MonkeyPatch, forgery: str) -> None:
    def answer(request: Any) -> Reply:
        reply = accept(request)
        if forgery == "unsigned":
            reply.message_authenticator = False
            del reply[80]
            return reply
        octets = bytearray(reply.ReplyPacket())
        if forgery == "authenticator":
            octets[4] ^= 1
        return b"noise" if forgery == "noise" else bytes(octets)

    secret = "another secret" if forgery == "secret" else SECRET
    assert asked(monkeypatch, answer, secret)[0] is None


def test_no_way_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> MobilityAssociation | None:
        # a multicast address without an interface is none to send to
        nowhere = radius.Radius(IPv6Address("2001:db8:ffff::1"), SECRET, "ha1", AGENT)
        return await nowhere.authenticate(QUESTION)

    def refuse(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert asyncio.run(scene()) is None
