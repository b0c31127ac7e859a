"""A home agent asks AAA about a Binding Update (RFC 4285 section 5.2.1 leaves open how).

The question is an Access-Request (RFC 2865) with the attributes that 3GPP2 made for it (X.S0011-002-D): the mobile
node's identity, MAC_Mobility Data and the authenticator over it. The server has the key, computes and compares. Its
Access-Accept holds the home address (RFC 6911), and the MN-HA key with its SPI in WiMAX's attributes, the key encrypted
as RFC 2868 section 3.5 says. Every packet has a Message-Authenticator (RFC 3579 section 3.2).
"""

from __future__ import annotations

import asyncio
import io
import socket
from ipaddress import IPv6Address
from typing import Final

import pyrad.dictionary
import pyrad.packet

from testbed.mip6.authentication import MobilityAssociation, Question
from testbed.mip6.journal import note

_PORT: Final = 1812
_TIMEOUTS: Final = (1.0, 2.0, 4.0)  # seconds; RFC 5080 section 2.2.1 wants a back-off
_LARGEST: Final = 4096  # octets: RFC 2865 section 3
_CONTINUATION: Final = 1  # octets before the value of a WiMAX attribute: WiMAX Forum NWG Stage 3 section 5.4
_DICTIONARY: Final = """
ATTRIBUTE User-Name 1 string
ATTRIBUTE Calling-Station-Id 31 string
ATTRIBUTE NAS-Identifier 32 string
ATTRIBUTE NAS-IPv6-Address 95 ipv6addr
ATTRIBUTE Framed-IPv6-Address 168 octets
VENDOR 3GPP2 5535
BEGIN-VENDOR 3GPP2
ATTRIBUTE 3GPP2-MIP6-Care-of-Address 119 ipv6addr
ATTRIBUTE 3GPP2-MIP6-Authenticator 134 octets
ATTRIBUTE 3GPP2-MIP6-MAC-Mobility-Data 138 octets
ATTRIBUTE 3GPP2-MIP6-HOA-Received-From-BU 141 ipv6addr
END-VENDOR 3GPP2
VENDOR WiMAX 24757
BEGIN-VENDOR WiMAX
ATTRIBUTE WiMAX-MN-hHA-MIP6-Key 12 octets
ATTRIBUTE WiMAX-MN-hHA-MIP6-SPI 13 octets
END-VENDOR WiMAX
"""


class Radius:
    """One AAA server; an ``Aaa``.

    Args:
        server: its address.
        secret: what it shares with us.
        name: ours, for its records.
        address: ours.
    """

    def __init__(self, server: IPv6Address, secret: str, name: str, address: IPv6Address) -> None:
        self._server = server
        self._secret = secret.encode()
        self._name = name
        self._address = address
        self._dictionary = pyrad.dictionary.Dictionary(io.StringIO(_DICTIONARY))

    async def authenticate(self, question: Question) -> MobilityAssociation | None:
        """Ask; no answer is a refusal."""
        request = pyrad.packet.AuthPacket(secret=self._secret, dict=self._dictionary)
        request.add_message_authenticator()
        facts = {
            "User-Name": question.nai,
            "NAS-Identifier": self._name,
            "NAS-IPv6-Address": str(self._address),
            "Calling-Station-Id": str(question.care_of),
            "3GPP2-MIP6-Care-of-Address": str(question.care_of),
            "3GPP2-MIP6-HOA-Received-From-BU": str(question.home_address),
            "3GPP2-MIP6-MAC-Mobility-Data": question.digest,
            "3GPP2-MIP6-Authenticator": question.authenticator,
        }
        for name, value in facts.items():
            request.AddAttribute(name, value)
        reply = await self._exchange(request)
        if reply is None or reply.code != pyrad.packet.AccessAccept:
            return None
        try:
            return _granted(question.nai, reply)
        except (KeyError, IndexError, ValueError, pyrad.packet.PacketError) as error:
            note("aaa", identity=question.nai, reason=f"its Access-Accept lacks something: {error}")
            return None

    async def _exchange(self, request: pyrad.packet.AuthPacket) -> pyrad.packet.Packet | None:
        """Send a request until a genuine answer comes."""
        loop = asyncio.get_running_loop()
        octets = request.RequestPacket()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            try:
                channel.connect((str(self._server), _PORT))
                for timeout in _TIMEOUTS:
                    await loop.sock_sendall(channel, octets)
                    try:
                        async with asyncio.timeout(timeout):
                            while True:
                                reply = self._genuine(request, await loop.sock_recv(channel, _LARGEST))
                                if reply is not None:
                                    return reply
                    except TimeoutError:
                        continue
            except OSError as error:
                note("aaa", server=self._server, reason=str(error))
                return None
        note("aaa", server=self._server, reason="no answer")
        return None

    def _genuine(self, request: pyrad.packet.AuthPacket, octets: bytes) -> pyrad.packet.Packet | None:
        """Decode an answer; None if it is not the server's to this request."""
        try:
            reply = request.CreateReply(packet=octets)
            reply.request_authenticator = request.authenticator  # by which the key is encrypted
            return reply if request.VerifyReply(reply, octets, enforce_ma=True) else None
        except pyrad.packet.PacketError:
            return None


def _granted(nai: str, reply: pyrad.packet.Packet) -> MobilityAssociation:
    key = reply["WiMAX-MN-hHA-MIP6-Key"][0][_CONTINUATION:]
    spi = reply["WiMAX-MN-hHA-MIP6-SPI"][0][_CONTINUATION:]
    home = IPv6Address(reply["Framed-IPv6-Address"][0])
    return MobilityAssociation(nai, home, int.from_bytes(spi, "big"), reply.SaltDecrypt(key))
