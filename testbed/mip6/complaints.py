"""ICMPv6 errors of a home agent about what it was sent (RFC 6275 section 9.2, RFC 4443)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from testbed.mip6 import wire
from testbed.mip6.journal import note
from testbed.mip6.limit import Limit

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from testbed.mip6.carrier import Received

_ERRONEOUS_FIELD = 0  # RFC 4443 section 3.4


class Complaints:
    """Sends Parameter Problems from one address, not more than the rate limit lets through."""

    def __init__(self, address: IPv6Address) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.ICMPV6)
        self._socket.setblocking(False)
        self._socket.bind((str(address), 0))
        # nothing is to be heard here: an empty filter keeps the queue empty
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, 1, b"\xff" * 32)
        self._limit = Limit()

    def parameter_problem(self, received: Received, offset: int) -> None:
        """Tell the sender of a Mobility Header which of its octets is wrong."""
        if not self._limit.permits():
            return
        option = received.home_address if received.home_address_option else None
        packet = wire.build(
            received.reply_to, self._address, wire.MOBILITY, received.octets, home_address_option=option
        )
        pointer = len(packet) - len(received.octets) + offset
        problem = wire.ParameterProblem(_ERRONEOUS_FIELD, pointer, packet)
        try:
            octets = wire.encode_icmp(problem, self._address, received.reply_to)
            self._socket.sendto(octets, (str(received.reply_to), 0))
        except OSError as error:
            note("not sent", destination=received.reply_to, reason=str(error))
