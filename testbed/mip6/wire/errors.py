from __future__ import annotations

from testbed.errors import WireError


class ChecksumError(WireError):
    """The checksum is wrong or octets that it covers are missing: discard silently (RFC 6275 section 9.2)."""


class UnknownTypeError(WireError):
    """A message of a type that this codec does not know; ``type`` is the MH Type or the ICMPv6 type.

    For an MH Type, RFC 6275 section 9.2 asks for a Binding Error of status 2.
    """

    def __init__(self, message: str, *, type: int, offset: int) -> None:  # noqa: A002 - the RFC's word for it
        super().__init__(message, offset=offset)
        self.type = type
