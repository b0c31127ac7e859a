from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_ONES: Final = 0xFFFF  # the modulus of ones' complement arithmetic on 16-bit words


def checksum(source: IPv6Address, destination: IPv6Address, next_header: int, octets: bytes | bytearray) -> int:
    """Ones' complement checksum over an IPv6 pseudo header and ``octets``, as its field has to hold it.

    With the checksum field zero in ``octets`` this is the value to send; over a message as received it is
    zero if the message is intact. Where a Home Address option or a type 2 routing header is present, the home
    address stands for the source or for the destination.

    RFC 6275 section 6.1.1 (next header 135), RFC 4443 section 2.3 (58), RFC 8200 section 8.1.
    """
    # 2**16 is 1 modulo 0xffff: a number is congruent to the sum of its 16-bit words, so that no loop is
    # needed.
    words = int.from_bytes(octets, "big") << (8 * (len(octets) % 2))
    return -(int(source) + int(destination) + len(octets) + next_header + words) % _ONES
