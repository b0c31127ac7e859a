"""The octets of rtnetlink: message headers, attributes, acknowledgements (netlink(7), rtnetlink(7))."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from testbed.errors import TestbedError, WireError
from testbed.netlink.constants import NLMSG_DONE, Flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADER: Final = struct.Struct("=IHHII")
IFINFOMSG: Final = struct.Struct("=BxHiII")
IFADDRMSG: Final = struct.Struct("=BBBBI")
RTMSG: Final = struct.Struct("=BBBBBBBBI")  # struct fib_rule_hdr has the same layout
NDMSG: Final = struct.Struct("=BxxxiHBB")
NDUSEROPTMSG: Final = struct.Struct("=BxHiBBxxxxxx")
RTNEXTHOP: Final = struct.Struct("=HBBi")
U32: Final = struct.Struct("=I")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")

_ATTRIBUTE_TYPE_MASK: Final = 0x3FFF  # the two highest bits say "nested" and "network byte order"
_EXT_ACK_MESSAGE: Final = 1
_ERROR_WITH_HEADER: Final = _ERROR.size + HEADER.size


class NetlinkError(TestbedError):
    """The kernel refused to change or to show the network of a namespace.

    ``errno`` is the number of the first refusal (errno(3)); the message names the operation in words, and the
    evidence lists every refusal of the same batch.
    """

    def __init__(self, message: str, errno: int, *, hint: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message as received: header fields and the octets after the header."""

    type: int
    flags: int
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the kernel answers to a request: 0 or an errno(3), and the reason in words where it gives one."""

    errno: int
    reason: str = ""


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Put a header before a body; the port is 0, for the kernel knows the socket (netlink(7))."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def split_messages(datagram: bytes) -> Iterator[Message]:
    """Cut a datagram into its messages.

    Raises:
        WireError: a length that does not fit the datagram.
    """
    offset = 0
    while offset < len(datagram):
        if len(datagram) - offset < HEADER.size:
            raise WireError("a netlink message ends inside its header", offset=offset)
        length, kind, flags, sequence, _port = HEADER.unpack_from(datagram, offset)
        if not HEADER.size <= length <= len(datagram) - offset:
            raise WireError(f"a netlink message of length {length} does not fit its datagram", offset=offset)
        yield Message(kind, flags, sequence, datagram[offset + HEADER.size : offset + length])
        offset += aligned(length)


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to four octets (rtnetlink(7), struct rtattr)."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def u32(kind: int, value: int) -> bytes:
    """Encode an attribute that holds 32 bits in host byte order."""
    return attribute(kind, U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """Encode an attribute that holds a text ended by a zero octet."""
    return attribute(kind, value.encode() + b"\0")


def split_attributes(octets: bytes, start: int = 0) -> dict[int, bytes]:
    """Cut octets from ``start`` on into attributes by type; of a repeated type the last one counts.

    Raises:
        WireError: a length that does not fit.
    """
    found: dict[int, bytes] = {}
    offset = start
    while len(octets) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(octets, offset)
        if not _ATTRIBUTE.size <= length <= len(octets) - offset:
            raise WireError(f"an attribute of length {length} does not fit its message", offset=offset)
        found[kind & _ATTRIBUTE_TYPE_MASK] = octets[offset + _ATTRIBUTE.size : offset + length]
        offset += aligned(length)
    return found


def get_u32(attributes: Mapping[int, bytes], kind: int) -> int:
    """Read an attribute of 32 bits; 0 where it is absent, struct.error where it has another length."""
    payload = attributes.get(kind)
    return 0 if payload is None else int(U32.unpack(payload)[0])


def get_text(attributes: Mapping[int, bytes], kind: int) -> str:
    """Read an attribute that holds a text; empty where it is absent."""
    return attributes.get(kind, b"").split(b"\0", 1)[0].decode(errors="replace")


def decode_acknowledgement(message: Message) -> Acknowledgement:
    """Read NLMSG_ERROR or NLMSG_DONE, with the extended reason if the kernel sent one (linux/netlink.h).

    Raises:
        WireError: the message is shorter than its error number.
    """
    if len(message.body) < _ERROR.size:
        raise WireError("a netlink acknowledgement without an error number")
    errno = -int(_ERROR.unpack_from(message.body)[0])
    if not message.flags & Flag.ACK_ATTRIBUTES:
        return Acknowledgement(errno)
    attributes = split_attributes(message.body, _acknowledged_octets(message))
    return Acknowledgement(errno, get_text(attributes, _EXT_ACK_MESSAGE))


def _acknowledged_octets(message: Message) -> int:
    """Tell where the attributes of an acknowledgement begin: after the error and the quoted request."""
    if message.type == NLMSG_DONE:
        return _ERROR.size
    if message.flags & Flag.CAPPED or len(message.body) < _ERROR_WITH_HEADER:
        return _ERROR_WITH_HEADER
    quoted_length = int(U32.unpack_from(message.body, _ERROR.size)[0])
    return _ERROR.size + aligned(quoted_length)


def aligned(length: int) -> int:
    """Round a length up to the four octets that netlink aligns to."""
    return (length + 3) & ~3
