"""Authenticators in Mobility Headers: RFC 4285 with home agent or AAA server, and return routability.

An authenticator covers octets, not meaning: a receiver computes it over the header as it came, a sender over
the header as it will go out, length and padding included. ``sign`` and ``authorize`` therefore fill in a
message whose options are already complete; ``verify`` and ``authorized`` take the octets.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from testbed.errors import WireError
from testbed.mip6.wire.message import BindingAcknowledgement, BindingUpdate, encode
from testbed.mip6.wire.numbers import HMAC_SHA1_SPI, AuthenticationSubtype, OptionType
from testbed.mip6.wire.options import (
    AUTHENTICATOR_SIZE,
    BindingAuthorizationData,
    MobilityAuthentication,
    spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv6Address

Binding = TypeVar("Binding", BindingUpdate, BindingAcknowledgement)

_CHECKSUM: Final = slice(4, 6)
_OPTIONS: Final = 12  # octets of a Binding Update or Acknowledgement before its options: RFC 6275 section 6.1
_SUBTYPE_AND_SPI: Final = 5  # octets of option data that are covered: RFC 4285 section 5
_NTP_EPOCH: Final = 2_208_988_800  # seconds from 1900 to 1970: RFC 5905 figure 4
_SECOND: Final = 1_000_000_000  # nanoseconds
_ERA: Final = 2**64  # an NTP timestamp wraps, next in 2036
_SHA1_SIZE: Final = 20  # octets: RFC 3174


def _mobility_data(first: IPv6Address, second: IPv6Address, mh_data: bytes) -> bytes:
    """Two addresses and the header with its checksum zero (RFC 4285 section 5.1, RFC 6275 section 6.2.7)."""
    return first.packed + second.packed + mh_data[: _CHECKSUM.start] + bytes(2) + mh_data[_CHECKSUM.stop :]


def mn_ha_authenticator(key: bytes, care_of: IPv6Address, home: IPv6Address, mh_data: bytes) -> bytes:
    """Authenticator of 12 octets between mobile node and home agent (RFC 4285 section 5.1).

    ``mh_data`` is the Mobility Header up to and including the SPI of the option; its checksum does not count.
    ``key`` is the shared key, 16 octets by the RFC.
    """
    return hmac.digest(key, _mobility_data(care_of, home, mh_data), "sha1")[:AUTHENTICATOR_SIZE]


def mn_aaa_digest(care_of: IPv6Address, home: IPv6Address, mh_data: bytes) -> bytes:
    """MAC_Mobility Data of 20 octets, which a home agent hands to the AAA server (RFC 4285 section 5.2).

    ``mh_data`` as in ``mn_ha_authenticator``. The RFC does not say that the checksum is zero here; as it can
    only be computed after the authenticator, nothing else works.
    """
    return hashlib.sha1(_mobility_data(care_of, home, mh_data), usedforsecurity=False).digest()


def mn_aaa_authenticator(key: bytes, care_of: IPv6Address, home: IPv6Address, mh_data: bytes) -> bytes:
    """Authenticator of 20 octets between mobile node and AAA server, with HMAC_SHA1 (RFC 4285 section 5.2).

    ``mh_data`` as in ``mn_ha_authenticator``.
    """
    return hmac.digest(key, mn_aaa_digest(care_of, home, mh_data), "sha1")


_ALGORITHMS: Final[dict[int, Callable[[bytes, IPv6Address, IPv6Address, bytes], bytes]]] = {
    AuthenticationSubtype.MN_HA: mn_ha_authenticator,
    AuthenticationSubtype.MN_AAA: mn_aaa_authenticator,
}


def signed_part(octets: bytes, subtype: int) -> tuple[bytes, bytes]:
    """Find what the first Mobility Authentication option of ``subtype`` covers, and its authenticator.

    ``octets`` is a Binding Update or Acknowledgement that ``decode`` accepted. The first item is ``mh_data``
    for the functions above; its last 4 octets are the SPI.

    RFC 4285 section 5.

    Raises:
        WireError: there is no such option.
    """
    for code, start, stop in spans(octets, _OPTIONS, _length(octets)):
        if code == OptionType.MOBILITY_AUTHENTICATION and octets[start] == subtype:
            covered = start + _SUBTYPE_AND_SPI
            return octets[:covered], octets[covered:stop]
    raise WireError(f"no Mobility Authentication option of subtype {subtype}", offset=_OPTIONS)


def sign(
    message: Binding, keys: Mapping[AuthenticationSubtype, bytes], care_of: IPv6Address, home: IPv6Address
) -> Binding:
    """Fill in the Mobility Authentication options of ``message``, in their order; all else must be complete.

    ``keys`` maps the subtype of each of them to its key. If there are two, MN-HA stands before MN-AAA; the
    last of them stands last in the message (RFC 4285 section 5).

    Raises:
        WireError: no algorithm is known for the subtype and SPI of one, or a value does not fit its field.
        KeyError: there is no key for one.
    """
    # Each authenticator covers the header's length: all take their final size before the first is computed.
    options = [
        replace(item, authenticator=bytes(_size(item))) if isinstance(item, MobilityAuthentication) else item
        for item in message.options
    ]
    for at, item in enumerate(options):
        if isinstance(item, MobilityAuthentication):
            octets = encode(replace(message, options=tuple(options)), care_of, home)
            mh_data, _ = signed_part(octets, item.subtype)
            key = keys[AuthenticationSubtype(item.subtype)]
            computed = _ALGORITHMS[item.subtype](key, care_of, home, mh_data)
            options[at] = replace(item, authenticator=computed)
    return replace(message, options=tuple(options))


def verify(octets: bytes, subtype: int, key: bytes, care_of: IPv6Address, home: IPv6Address) -> bool:
    """Tell whether ``octets`` carries a true authenticator of ``subtype``; without one, it does not.

    ``octets`` is a Binding Update or Acknowledgement that ``decode`` accepted. An MN-AAA option whose SPI is
    not HMAC_SHA1_SPI is not true, because no other algorithm is defined (RFC 4285 sections 5.2 and 8).
    """
    try:
        mh_data, received = signed_part(octets, subtype)
    except WireError:
        return False
    if not _known(subtype, int.from_bytes(mh_data[-4:], "big")):
        return False
    return hmac.compare_digest(_ALGORITHMS[subtype](key, care_of, home, mh_data), received)


def kbm(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Binding management key of 20 octets from keygen tokens of 8; without a care-of token, to delete.

    RFC 6275 section 5.2.5.
    """
    return hashlib.sha1(home_token + care_of_token, usedforsecurity=False).digest()


def authenticator(key: bytes, care_of: IPv6Address, correspondent: IPv6Address, mh_data: bytes) -> bytes:
    """Authenticator of 12 octets of Binding Authorization Data (RFC 6275 section 6.2.7).

    ``key`` is of ``kbm``. ``mh_data`` is the Mobility Header without the authenticator that ends it; its
    checksum does not count. ``care_of`` is the address that the message registers, the home address where it
    deletes.
    """
    return hmac.digest(key, _mobility_data(care_of, correspondent, mh_data), "sha1")[:AUTHENTICATOR_SIZE]


def authorize(message: Binding, key: bytes, care_of: IPv6Address, correspondent: IPv6Address) -> Binding:
    """Append Binding Authorization Data to ``message``; arguments as in ``authenticator``.

    RFC 6275 section 6.2.7.
    """
    blank = replace(message, options=(*message.options, BindingAuthorizationData()))
    mh_data = encode(blank, care_of, correspondent)[:-AUTHENTICATOR_SIZE]
    filled = BindingAuthorizationData(authenticator(key, care_of, correspondent, mh_data))
    return replace(message, options=(*message.options, filled))


def authorized(octets: bytes, key: bytes, care_of: IPv6Address, correspondent: IPv6Address) -> bool:
    """Tell whether ``octets`` ends in true Binding Authorization Data; arguments as in ``authenticator``.

    ``octets`` is a Binding Update or Acknowledgement that ``decode`` accepted. An option that is not last or
    is followed by padding is not true (RFC 6275 section 6.2).
    """
    end = _length(octets)
    for code, start, stop in spans(octets, _OPTIONS, end):
        if code == OptionType.BINDING_AUTHORIZATION_DATA and stop == end:
            computed = authenticator(key, care_of, correspondent, octets[:start])
            return hmac.compare_digest(computed, octets[start:stop])
    return False


def ntp_timestamp(nanoseconds: int) -> int:
    """64-bit NTP timestamp of a Unix time in nanoseconds, as of ``time.time_ns`` (RFC 4285 section 6)."""
    return ((nanoseconds + _NTP_EPOCH * _SECOND) << 32) // _SECOND % _ERA


def skew(timestamp: int, own: int) -> float:
    """Seconds by which ``timestamp`` is ahead of ``own``, both of NTP, across the end of an era too.

    RFC 4285 section 6 calls it close enough within TIMESTAMP_WINDOW.
    """
    return ((timestamp - own + _ERA // 2) % _ERA - _ERA // 2) / 2**32


def corrected(timestamp: int, own: int) -> int:
    """Timestamp with which a home agent answers an invalid one: its own seconds, the sender's fraction.

    RFC 4285 section 6.
    """
    return own >> 32 << 32 | timestamp % 2**32


def _known(subtype: int, spi: int) -> bool:
    return subtype == AuthenticationSubtype.MN_HA or (subtype == AuthenticationSubtype.MN_AAA and spi == HMAC_SHA1_SPI)


def _size(option: MobilityAuthentication) -> int:
    if not _known(option.subtype, option.spi):
        raise WireError(f"no algorithm is known for authentication subtype {option.subtype}, SPI {option.spi}")
    return AUTHENTICATOR_SIZE if option.subtype == AuthenticationSubtype.MN_HA else _SHA1_SIZE


def _length(octets: bytes) -> int:
    return 8 * (octets[1] + 1)
