"""Domain names as DHCPv6 and Router Advertisements carry them: labels, never a compression pointer."""

from __future__ import annotations

import re

from testbed.errors import WireError

_MAX_NAME = 255  # octets with the root label, RFC 1035 section 2.3.4
_LABEL = re.compile(rb"[a-z0-9_-]{1,63}")  # nothing else may reach a resolv.conf


def encode_name(name: str) -> bytes:
    """Give the wire form of a fully qualified name, in lower case.

    A final dot may be left out; the result ends with the root label.

    Raises:
        WireError: a label is empty, longer than 63 octets or not of letters, digits, hyphen and underscore,
            or the name is longer than 255 octets.

    Source: RFC 1035 section 3.1, RFC 8415 section 10.
    """
    wire = bytearray()
    for label in name.removesuffix(".").lower().split("."):
        octets = label.encode("ascii", "replace")
        if not _LABEL.fullmatch(octets):
            raise WireError(f"{label!r} in {name!r} is no label of a domain name", offset=len(wire))
        wire += bytes((len(octets),)) + octets
    if len(wire) + 1 > _MAX_NAME:
        raise WireError(f"a domain name of {len(wire) + 1} octets, 255 are allowed")
    return bytes(wire) + b"\0"


def decode_names(octets: bytes, *, padded: bool = False) -> tuple[str, ...]:
    """Give the names in these octets, one behind the other, in lower case and without the final dot.

    Args:
        octets: the names; no octets are no names.
        padded: zero octets may follow the last name, as in DNSSL.

    Raises:
        WireError: a name that does not end, a compression pointer, a label or a name too long, a root alone.

    Source: RFC 8415 section 10, RFC 8106 section 5.2.
    """
    names: list[str] = []
    start = 0
    while start < len(octets):
        if padded and not any(octets[start:]):
            break
        name, start = _decode(octets, start)
        names.append(name)
    return tuple(names)


def decode_name(octets: bytes) -> str:
    """Give the one name that these octets are, in lower case and without the final dot.

    Raises:
        WireError: as for ``decode_names``, or there is not exactly one.

    Source: RFC 8415 section 10.
    """
    names = decode_names(octets)
    if len(names) != 1:
        raise WireError(f"{len(names)} domain names where one is expected")
    return names[0]


def _decode(octets: bytes, start: int) -> tuple[str, int]:
    labels: list[str] = []
    at = start
    while at < len(octets):
        length = octets[at]
        if length == 0:
            if not labels:
                raise WireError("the root where a domain name is expected", offset=start)
            if at + 1 - start > _MAX_NAME:
                raise WireError("a domain name longer than 255 octets", offset=start)
            return ".".join(labels), at + 1
        label = octets[at + 1 : at + 1 + length].lower()
        if len(label) < length or not _LABEL.fullmatch(label):
            raise WireError(f"a label of a domain name that is cut off or not allowed: {label!r}", offset=at)
        labels.append(label.decode("ascii"))
        at += 1 + length
    raise WireError("a domain name without an end", offset=start)
