"""Generic netlink, as far as tunnels need it (linux/genetlink.h)."""

from __future__ import annotations

import errno as errors
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from testbed.netlink.constants import NLMSG_ERROR, Flag, Seg6
from testbed.netlink.wire import (
    Message,
    NetlinkError,
    attribute,
    decode_acknowledgement,
    encode_message,
    split_attributes,
    split_messages,
    text,
)

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_GENERIC: Final = 16  # NETLINK_GENERIC
_HEADER: Final = struct.Struct("=BBxx")  # struct genlmsghdr: command, version
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_RECEIVE_SIZE: Final = 1 << 16
_ANSWER_DEADLINE: Final = 30.0


def set_tunnel_source(address: IPv6Address) -> None:
    """Set the outer source of all that the routes of this thread's namespace put into tunnels.

    Raises:
        NetlinkError: the kernel has no segment routing, or we may not change the network.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC) as channel:
        channel.settimeout(_ANSWER_DEADLINE)
        body = _HEADER.pack(_GET_FAMILY, 1) + text(_FAMILY_NAME, "SEG6")
        answer = _exchange(channel, _CONTROL, body, "find segment routing in the kernel")
        (family,) = struct.unpack("=H", split_attributes(answer.body, _HEADER.size)[_FAMILY_ID])
        body = _HEADER.pack(Seg6.CMD_SET_TUNSRC, 1) + attribute(Seg6.ATTR_DST, address.packed)
        _exchange(channel, family, body, f"set the source of tunnels to {address}")


def _exchange(channel: socket.socket, kind: int, body: bytes, words: str) -> Message:
    """Send a request and return the first message that answers it."""
    try:
        channel.sendto(encode_message(kind, Flag.REQUEST | Flag.ACK, kind, body), (0, 0))
        while True:
            for message in split_messages(channel.recv(_RECEIVE_SIZE)):
                if message.sequence != kind:
                    continue  # the acknowledgement that follows the answer to an earlier request
                number = decode_acknowledgement(message).errno if message.type == NLMSG_ERROR else 0
                if number:
                    raise NetlinkError(f"{words}: {os.strerror(number)}", number)
                return message
    except OSError as error:
        number = errors.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0
        raise NetlinkError(f"{words}: {os.strerror(number)}", number) from error
