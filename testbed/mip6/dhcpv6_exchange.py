"""What all exchanges of a DHCPv6 client share: the socket, the repetition, the checks of an answer."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from testbed.errors import NotReadyError, UnsupportedError, WireError
from testbed.mip6.dhcpv6 import Code, Message, MessageType, Option, decode, duid_ll

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from testbed.mip6.interface import Interface

_T = TypeVar("_T")

_CLIENT_PORT, _SERVER_PORT = 546, 547
_SERVERS = "ff02::1:2"
_DATAGRAM = 65535
_JITTER = 0.1  # RFC 8415 section 15
_MAX_RT_RANGE = range(60, 86400 + 1)  # RFC 8415 sections 21.24 and 21.25
_ELAPSED_LARGEST = 0xFFFF


@dataclass(frozen=True, slots=True)
class Retransmission:
    """How a message is repeated: first and longest timeout in seconds, and how often it is sent at most.

    0 means without a limit. With ``never_early`` the first timeout is not shorter than ``initial``.
    """

    initial: float
    longest: float = 0
    count: int = 0
    never_early: bool = False

    def after(self, previous: float, rng: random.Random) -> float:
        """Give the timeout in seconds that follows a previous one, the first for 0.

        Source: RFC 8415 section 15.
        """
        jitter = rng.uniform(-_JITTER, _JITTER)
        if not previous:
            return self.initial * (1 + (abs(jitter) if self.never_early else jitter))
        timeout = previous * (2 + jitter)
        return self.longest * (1 + jitter) if 0 < self.longest < timeout else timeout


Timers = Mapping[MessageType, Retransmission]
RFC8415_TIMERS: Timers = MappingProxyType(
    {
        MessageType.SOLICIT: Retransmission(1, 3600, never_early=True),
        MessageType.REQUEST: Retransmission(1, 30, 10),
        MessageType.RENEW: Retransmission(10, 600),
        MessageType.REBIND: Retransmission(10, 600),
        MessageType.INFORMATION_REQUEST: Retransmission(1, 3600),
        MessageType.RELEASE: Retransmission(1, 0, 4),
        MessageType.DECLINE: Retransmission(1, 0, 4),
    }
)
"""The retransmission of every message that a client sends, RFC 8415 section 7.6."""


class Endpoint:
    """The DHCPv6 client's end of a link, identified by the DUID of its link-layer address."""

    def __init__(self, interface: Interface, rng: random.Random, timers: Timers) -> None:
        self.timers = timers
        self._interface = interface
        self._rng = rng
        self._duid = duid_ll(interface.mac)
        self._passed_over: deque[str] = deque(maxlen=8)
        self._wire: socket.socket

    @asynccontextmanager
    async def opened(self, deadline: float) -> AsyncIterator[None]:
        """Hold the socket for exchanges that end within ``deadline`` seconds.

        Raises:
            NotReadyError: the time is over, or the interface has no usable link-local address.
            UnsupportedError: no right to bind port 546.
        """
        self._passed_over.clear()
        source, index = self._interface.link_local(), self._interface.index
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.name.encode())
            try:
                wire.bind((str(source), _CLIENT_PORT, 0, index))
            except PermissionError as error:
                raise UnsupportedError("no right to bind port 546", where=self._interface.name) from error
            try:
                async with asyncio.timeout(deadline):
                    self._wire = wire
                    yield
            except TimeoutError as error:
                raise self.failed(f"no DHCPv6 answer within {deadline:g} s") from error

    async def exchange(
        self,
        kind: MessageType,
        options: tuple[Option, ...],
        take: Callable[[Message], _T | None],
        settle: Callable[[], _T | None] = lambda: None,
    ) -> _T:
        """Send until ``take`` makes something of an answer, or ``settle`` does at the end of a timeout.

        The options are what follows the client's identity and the elapsed time. A WireError in ``take``
        passes the message over.

        Raises:
            NotReadyError: it was sent as often as its retransmission allows.

        Source: RFC 8415 section 15.
        """
        loop = asyncio.get_running_loop()
        transaction = self._rng.getrandbits(24)
        begun, timeout, sent = loop.time(), 0.0, 0
        while not self.timers[kind].count or sent < self.timers[kind].count:
            elapsed = min(round((loop.time() - begun) * 100), _ELAPSED_LARGEST)
            identity = (Code.CLIENT_ID, self._duid), (Code.ELAPSED_TIME, elapsed.to_bytes(2, "big"))
            self._send(Message(kind, transaction, (*identity, *options)))
            sent += 1
            timeout = self.timers[kind].after(timeout, self._rng)
            end = loop.time() + timeout
            while (message := await self._receive(transaction, end)) is not None:
                try:
                    self._learn(message)
                    taken = take(message)
                except WireError as error:
                    self.pass_over(message, str(error))
                    continue
                if taken is not None:
                    return taken
            settled = settle()
            if settled is not None:
                return settled
        raise self.failed(f"no answer to {sent} times {kind.name}")

    def _send(self, message: Message) -> None:
        try:
            self._wire.sendto(message.encode(), (_SERVERS, _SERVER_PORT, 0, self._interface.index))
        except OSError as error:  # as good as lost on the wire
            self._passed_over.append(f"{message.type.name} not sent: {error.strerror}")

    async def _receive(self, transaction: int, end: float) -> Message | None:
        """Give the next message that is for this exchange, None at the end of the timeout."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:  # a receive that need not wait meets no timeout
            try:
                async with asyncio.timeout_at(end):
                    octets, _ = await loop.sock_recvfrom(self._wire, _DATAGRAM)
            except TimeoutError:
                break
            try:
                message = decode(octets)
            except WireError as error:
                self._passed_over.append(str(error))
                continue
            if message.type not in (MessageType.ADVERTISE, MessageType.REPLY):
                self.pass_over(message, "it is none of a server")
            elif message.transaction != transaction:
                self.pass_over(message, f"transaction {message.transaction:06x}, not {transaction:06x}")
            elif message.client_id != self._duid:
                self.pass_over(message, "for another client")
            elif not message.server_id:
                self.pass_over(message, "without a server identifier")
            else:
                return message
        return None

    def _learn(self, message: Message) -> None:
        """Take over the longest timeouts that a server wants (RFC 8415 sections 18.2.9 and 18.2.10)."""
        wanted = {
            MessageType.SOLICIT: message.sol_max_rt,
            MessageType.INFORMATION_REQUEST: message.inf_max_rt,
        }
        for kind, value in wanted.items():
            if value is not None and value in _MAX_RT_RANGE:
                self.timers = {**self.timers, kind: replace(self.timers[kind], longest=value)}

    def pass_over(self, message: Message, why: str) -> None:
        """Note why a message was ignored."""
        self._passed_over.append(f"{message.type.name}: {why}")

    def failed(self, message: str) -> NotReadyError:
        """Give the error to raise, its evidence the messages that were ignored last and why."""
        return NotReadyError(message, where=self._interface.name, evidence=tuple(self._passed_over))
