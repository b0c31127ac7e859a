"""Changes of links, addresses, default routes and announced DNS servers, as asyncio events (rtnetlink(7))."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from testbed.netlink.constants import SOL_NETLINK, Rtm
from testbed.netlink.decode import decode
from testbed.netlink.namespace import Namespace, in_namespace
from testbed.netlink.records import DEFAULT, Address, Link, Record, Resolvers, Route, Table
from testbed.netlink.session import RECEIVE_SIZE
from testbed.netlink.wire import Message, NetlinkError, split_messages

if TYPE_CHECKING:
    from types import TracebackType

_ADD_MEMBERSHIP: Final = 1
_GROUP_LINK, _GROUP_IPV6_ADDRESS, _GROUP_IPV6_ROUTE, _GROUP_ND_USEROPT = 1, 9, 11, 20
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_BUFFER_OCTETS: Final = 1 << 20
_GONE: Final = frozenset({Rtm.DELLINK, Rtm.DELADDR, Rtm.DELROUTE})


@dataclass(frozen=True, slots=True)
class Present:
    """Something appeared or changed: a link its carrier, an address its flags, a router its DNS servers."""

    subject: Link | Address | Route | Resolvers


@dataclass(frozen=True, slots=True)
class Gone:
    """Something was deleted; an autoconfigured address that failed DAD comes so, with the flag DADFAILED."""

    subject: Link | Address | Route


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost because they were not read in time: dump again what matters."""


Event = Present | Gone | Overrun


class Watcher:
    """An asynchronous iterator over the changes in one namespace since it was made; for one task.

    Make it before the first dump, so that no change falls in between. Of routes only default routes of the
    main table are told. Cancelling a task that waits loses no event. Close it only when no task waits for it.

    Args:
        namespace: where, if not in the namespace of the calling thread.
        buffer: octets that the kernel keeps of unread events; beyond net.core.rmem_max it needs
            CAP_NET_ADMIN.

    Raises:
        NetlinkError: the namespace cannot be entered; from the iteration, the socket fails.
        WireError: from the iteration, the kernel sent a malformed message.
    """

    def __init__(self, namespace: Namespace | None = None, *, buffer: int = _BUFFER_OCTETS) -> None:
        self._pending: deque[Event] = deque()
        with nullcontext() if namespace is None else in_namespace(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))  # unbound, its port is 0, the sender's own, and the kernel passes it over
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        for group in _GROUP_LINK, _GROUP_IPV6_ADDRESS, _GROUP_IPV6_ROUTE, _GROUP_ND_USEROPT:
            self._socket.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event; the iteration has no end."""
        while not self._pending:
            await self._readable()
            self._receive()
        return self._pending.popleft()

    async def _readable(self) -> None:
        """Wait without reading, so that a cancellation cannot lose what was read."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._socket, _fulfil, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._socket)

    def _receive(self) -> None:
        """Read all that there is: after an overrun the kernel adds nothing until the socket is empty."""
        overrun = False
        while True:
            try:
                datagram = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise NetlinkError(f"watch the network: {error.strerror}", error.errno or 0) from error
                overrun = True
            else:
                for message in split_messages(datagram):
                    self._pending.extend(events(message))
        if overrun:
            self._pending.append(Overrun())


def _fulfil(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def events(message: Message) -> tuple[Event, ...]:
    """Translate one message of the kernel; nothing for what is not watched."""
    gone = message.type in _GONE
    found = (_event(record, gone=gone) for record in decode(message))
    return tuple(event for event in found if event is not None)


def _event(record: Record, *, gone: bool) -> Event | None:
    match record:
        case Route(destination=destination, table=table) if destination != DEFAULT or table != Table.MAIN:
            return None
        case Link() | Address() | Route():
            return Gone(record) if gone else Present(record)
        case Resolvers():
            return Present(record)
        case _:
            return None
