"""IPv6 packets with the two headers that carry a home address (RFC 6275 sections 6.3 and 6.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from testbed.errors import WireError
from testbed.mip6.wire.options import spans

_IPV6: Final = struct.Struct("!IHBB16s16s")  # RFC 8200 section 3
_HOME_ADDRESS: Final = struct.Struct("!BBBBBBBB16s")
_TYPE2: Final = struct.Struct("!BBBB4x16s")
_VERSION: Final = 6
_HOP_BY_HOP: Final = 0  # RFC 8200 section 4.3
_ROUTING: Final = 43  # RFC 8200 section 4.4
_DESTINATION: Final = 60  # RFC 8200 section 4.6
_EXTENSIONS: Final = frozenset((_HOP_BY_HOP, _ROUTING, _DESTINATION))
_HOME_ADDRESS_OPTION: Final = 201  # RFC 6275 section 6.3
_ADDRESS_SIZE: Final = 16
_ROUTING_TYPE: Final = 2  # RFC 6275 section 6.4


@dataclass(frozen=True, slots=True)
class IPv6Packet:
    """An IPv6 packet down to the first header that is no hop-by-hop, routing or destination options header.

    ``payload`` begins with that header, of type ``next_header``, at ``payload_offset`` octets from the start
    of the packet. ``home_address_option`` is RFC 6275 section 6.3, ``type2_home_address`` section 6.4.
    """

    source: IPv6Address
    destination: IPv6Address
    hop_limit: int
    next_header: int
    payload: bytes
    payload_offset: int
    home_address_option: IPv6Address | None = None
    type2_home_address: IPv6Address | None = None

    @property
    def upper_source(self) -> IPv6Address:
        """The source that the payload and its checksum know (RFC 6275 section 6.1.1)."""
        return self.source if self.home_address_option is None else self.home_address_option

    @property
    def upper_destination(self) -> IPv6Address:
        """The destination that the payload and its checksum know (RFC 6275 section 6.1.1)."""
        return self.destination if self.type2_home_address is None else self.type2_home_address


def encode_home_address(next_header: int, home: IPv6Address) -> bytes:
    """Make a destination options header of 24 octets with a Home Address option (RFC 6275 section 6.3)."""
    return _HOME_ADDRESS.pack(next_header, 2, *(1, 2, 0, 0), _HOME_ADDRESS_OPTION, _ADDRESS_SIZE, home.packed)


def encode_type2_routing(next_header: int, home: IPv6Address) -> bytes:
    """Make a type 2 routing header of 24 octets with one segment left (RFC 6275 section 6.4)."""
    return _TYPE2.pack(next_header, 2, _ROUTING_TYPE, 1, home.packed)


def build(
    source: IPv6Address,
    destination: IPv6Address,
    next_header: int,
    payload: bytes,
    *,
    hop_limit: int = 64,
    home_address_option: IPv6Address | None = None,
    type2_home_address: IPv6Address | None = None,
) -> bytes:
    """Make an IPv6 packet, its routing header before its Home Address option (RFC 6275 section 6.3).

    Raises:
        WireError: a value does not fit its field.
    """
    if home_address_option is not None:
        payload = encode_home_address(next_header, home_address_option) + payload
        next_header = _DESTINATION
    if type2_home_address is not None:
        payload = encode_type2_routing(next_header, type2_home_address) + payload
        next_header = _ROUTING
    try:
        header = _IPV6.pack(_VERSION << 28, len(payload), next_header, hop_limit, source.packed, destination.packed)
    except struct.error as error:
        raise WireError(f"a value does not fit its field: {error}") from error
    return header + payload


def walk(packet: bytes) -> IPv6Packet:
    """Read an IPv6 packet and its extension headers up to the upper layer; octets past its end are ignored.

    Raises:
        WireError: the packet is cut off, or a header that carries a home address is not what RFC 6275
            sections 6.3 and 6.4 allow; ``.offset`` counts from the start of the packet.
    """
    if len(packet) < _IPV6.size:
        raise WireError("packet is shorter than an IPv6 header", offset=len(packet))
    version, length, next_header, hop_limit, source, destination = _IPV6.unpack_from(packet)
    if version >> 28 != _VERSION:
        raise WireError(f"IP version is {version >> 28}, not 6", offset=0)
    end = _IPV6.size + length
    if end > len(packet):
        raise WireError(f"packet of {end} octets is cut off", offset=len(packet))
    offset = _IPV6.size
    home = final = None
    while next_header in _EXTENSIONS:  # each turn consumes 8 octets or more
        stop = offset + 8 * (packet[offset + 1] + 1) if offset + 1 < end else end + 1
        if stop > end:
            raise WireError(f"extension header {next_header} is cut off", offset=offset)
        if next_header == _DESTINATION:
            home = _home_address(packet, offset + 2, stop, home)
        elif next_header == _ROUTING and packet[offset + 2] == _ROUTING_TYPE:
            final = _type2_routing(packet, offset, final)
        next_header = packet[offset]
        offset = stop
    payload = packet[offset:end]
    return IPv6Packet(
        IPv6Address(source), IPv6Address(destination), hop_limit, next_header, payload, offset, home, final
    )


def _home_address(packet: bytes, offset: int, stop: int, found: IPv6Address | None) -> IPv6Address | None:
    for code, start, end in spans(packet, offset, stop):
        if code != _HOME_ADDRESS_OPTION:
            continue
        if end - start != _ADDRESS_SIZE:
            raise WireError(f"Home Address option of length {end - start}, not 16", offset=start - 1)
        if found is not None:
            raise WireError("second Home Address option", offset=start - 2)
        found = IPv6Address(packet[start:end])
    return found


def _type2_routing(packet: bytes, offset: int, found: IPv6Address | None) -> IPv6Address:
    _, length, _, segments_left, home = _TYPE2.unpack_from(packet.ljust(offset + _TYPE2.size), offset)
    if length != 2:  # noqa: PLR2004 - RFC 6275 section 6.4.1, of three units
        raise WireError(f"type 2 routing header of length {length}, not 2", offset=offset + 1)
    if segments_left != 1:
        raise WireError(f"type 2 routing header with {segments_left} segments left, not 1", offset=offset + 3)
    if found is not None:
        raise WireError("second type 2 routing header", offset=offset)
    return IPv6Address(home)
