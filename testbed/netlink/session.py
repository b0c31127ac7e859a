"""A netlink socket in one namespace: batches of requests, and dumps."""

from __future__ import annotations

import errno as errors
import os
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, Self, TypeVar

from testbed.netlink.constants import NLMSG_DONE, NLMSG_ERROR, SOL_NETLINK, Flag, Ifla, Ntf, Rta, Rtm
from testbed.netlink.decode import decode
from testbed.netlink.namespace import Namespace, in_namespace
from testbed.netlink.records import Address, Link, Neighbour, Route, Rule, Table
from testbed.netlink.wire import (
    IFADDRMSG,
    IFINFOMSG,
    NDMSG,
    RTMSG,
    Acknowledgement,
    Message,
    NetlinkError,
    decode_acknowledgement,
    encode_message,
    split_messages,
    text,
    u32,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from testbed.netlink.requests import Request

RECEIVE_SIZE: Final = 1 << 16  # a dump comes in datagrams of at most 32 KiB (netlink_recvmsg in the kernel)
_CAP_ACK, _EXT_ACK, _GET_STRICT_CHECK = 10, 11, 12
# If all of a chunk were refused, its acknowledgements of about 800 octets each have to fit the default
# receive buffer of 208 KiB, and its octets the send buffer of the same size.
_CHUNK_REQUESTS: Final = 128
_CHUNK_OCTETS: Final = 1 << 16
_DUMP_ATTEMPTS: Final = 10
_ANSWER_DEADLINE: Final = 30.0  # seconds; the kernel answers at once unless another process holds its lock
_HINTS: Final = {errors.EPERM: "changing the network needs CAP_NET_ADMIN: run as root"}

_R = TypeVar("_R", Link, Address, Route, Rule, Neighbour)
_Refused = tuple["Request", Acknowledgement]


class Netlink:
    """A conversation with the kernel about the network of one namespace; not for several threads at once.

    Args:
        namespace: where, if not in the namespace of the calling thread.
        node: a name for the namespace in the messages of errors.

    Raises:
        NetlinkError: the namespace cannot be entered; from every method, the kernel refused or did not
            answer.
    """

    def __init__(self, namespace: Namespace | None = None, *, node: str = "") -> None:
        self._node = node
        self._sequence = 0
        with nullcontext() if namespace is None else in_namespace(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        for option in _CAP_ACK, _EXT_ACK, _GET_STRICT_CHECK:
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.settimeout(_ANSWER_DEADLINE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; what was changed stays."""
        self._socket.close()

    def apply(self, *requests: Request) -> None:
        """Send requests, up to 128 in a datagram; the kernel carries them out in order.

        Of a datagram only the last request asks for an acknowledgement; those refused are reported anyway.

        Raises:
            NetlinkError: names the first that was refused; some of those after it may have been carried out.
        """
        for chunk in _chunks(requests):
            refused = self._exchange(chunk)
            if refused:
                raise self._refusal(refused)

    def link(self, link: int | str) -> Link:
        """Return one link by its index or name; ENODEV if it does not exist."""
        index, name = (0, text(Ifla.IFNAME, link)) if isinstance(link, str) else (link, b"")
        found, _ = self._query(
            Rtm.GETLINK, Flag.ACK, IFINFOMSG.pack(0, 0, index, 0, 0) + name, Link, f"look up link {link}"
        )
        return found[0]

    def links(self) -> tuple[Link, ...]:
        """Return all links, by index."""
        return self._dump(Rtm.GETLINK, IFINFOMSG.pack(0, 0, 0, 0, 0), Link, "list links")

    def addresses(self, device: int = 0) -> tuple[Address, ...]:
        """Return the IPv6 addresses of one link, or of all."""
        body = IFADDRMSG.pack(socket.AF_INET6, 0, 0, 0, device)
        return self._dump(Rtm.GETADDR, body, Address, "list addresses")

    def routes(self, table: int = Table.MAIN) -> tuple[Route, ...]:
        """Return the IPv6 routes of a table; none if the table does not exist."""
        body = RTMSG.pack(socket.AF_INET6, *bytes(8)) + u32(Rta.TABLE, table)
        try:
            return self._dump(Rtm.GETROUTE, body, Route, f"list routes of table {table}")
        except NetlinkError as error:
            if error.errno == errors.ENOENT:
                return ()
            raise

    def rules(self) -> tuple[Rule, ...]:
        """Return the IPv6 policy rules, by priority."""
        return self._dump(Rtm.GETRULE, RTMSG.pack(socket.AF_INET6, *bytes(8)), Rule, "list rules")

    def neighbours(self, *, proxies: bool = False) -> tuple[Neighbour, ...]:
        """Return the IPv6 neighbours, or instead the addresses that are defended for others."""
        body = NDMSG.pack(socket.AF_INET6, 0, 0, Ntf.PROXY if proxies else 0, 0)
        return self._dump(Rtm.GETNEIGH, body, Neighbour, "list neighbours")

    def _exchange(self, chunk: Sequence[Request]) -> list[_Refused]:
        """Send one datagram, and return the requests of it that were refused."""
        by_sequence = dict(enumerate(chunk, self._sequence + 1))
        self._sequence += len(chunk)
        octets = b"".join(
            encode_message(
                request.type,
                Flag.REQUEST | request.flags | (Flag.ACK if sequence == self._sequence else 0),
                sequence,
                request.body,
            )
            for sequence, request in by_sequence.items()
        )
        refused = []
        for message in self._answers(octets, chunk[-1].words):
            request = by_sequence.get(message.sequence)
            if request and message.type == NLMSG_ERROR:
                answer = decode_acknowledgement(message)
                if answer.errno:
                    refused.append((request, answer))
                if message.sequence == self._sequence:
                    break
        return refused

    def _dump(self, kind: Rtm, body: bytes, record: type[_R], words: str) -> tuple[_R, ...]:
        """Ask for all of one kind, anew if a change came in between: such a dump may lack something."""
        for _ in range(_DUMP_ATTEMPTS):
            found, complete = self._query(kind, Flag.DUMP, body, record, words)
            if complete:
                return tuple(found)
        raise self._error(words, Acknowledgement(errors.EAGAIN, "it changed during every attempt"))

    def _query(self, kind: Rtm, flags: int, body: bytes, record: type[_R], words: str) -> tuple[list[_R], bool]:
        """Return what the kernel answers, and whether nothing changed meanwhile."""
        self._sequence += 1
        found: list[_R] = []
        complete = True
        for message in self._answers(encode_message(kind, Flag.REQUEST | flags, self._sequence, body), words):
            if message.sequence != self._sequence:
                continue
            complete = complete and not message.flags & Flag.DUMP_INTERRUPTED
            if message.type in (NLMSG_ERROR, NLMSG_DONE):
                answer = decode_acknowledgement(message)
                if answer.errno:
                    raise self._error(words, answer)
                break
            found.extend(item for item in decode(message) if isinstance(item, record))
        return found, complete

    def _answers(self, octets: bytes, words: str) -> Iterator[Message]:
        """Send a datagram and yield messages for as long as the caller wants more."""
        try:
            self._socket.sendto(octets, (0, 0))
            while True:
                yield from split_messages(self._socket.recv(RECEIVE_SIZE))
        except OSError as error:
            number = errors.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0
            raise self._error(words, Acknowledgement(number)) from error

    def _refusal(self, refused: Sequence[_Refused]) -> NetlinkError:
        texts = tuple(self._sentence(self._words(request), answer) for request, answer in refused)
        number = refused[0][1].errno
        return NetlinkError(texts[0], number, hint=_HINTS.get(number, ""), evidence=texts)

    def _error(self, words: str, answer: Acknowledgement) -> NetlinkError:
        hint = _HINTS.get(answer.errno, "")
        return NetlinkError(self._sentence(words, answer), answer.errno, hint=hint)

    def _sentence(self, words: str, answer: Acknowledgement) -> str:
        where = f" of {self._node}" if self._node else ""
        reason = f" ({answer.reason})" if answer.reason else ""
        return f"{words}{where}: {os.strerror(answer.errno)}{reason}"

    def _words(self, request: Request) -> str:
        """Name a request with the name of its link, which is looked up only now that it failed."""
        if not request.device:
            return request.words
        try:
            name = request.device if isinstance(request.device, str) else self.link(request.device).name
        except NetlinkError:
            name = f"index {request.device}"
        return request.words.replace("{}", name)


def _chunks(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    start = octets = 0
    for at, request in enumerate(requests):
        if at - start == _CHUNK_REQUESTS or octets > _CHUNK_OCTETS:
            yield requests[start:at]
            start, octets = at, 0
        octets += len(request.body)
    if start < len(requests):
        yield requests[start:]
