"""Binding Updates and Acknowledgements protected by options (RFC 4285): the mobile node's side."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from testbed.mip6 import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testbed.mip6.retransmission import SendUpdate

_FRACTION = (1 << 32) - 1


class MobileAuthentication:
    """A mobile node's keys; a ``Seal``.

    Args:
        nai: its identity.
        spi: of the association with the home agent.
        keys: what it shares with its home agent, and with AAA if AAA is to judge, 16 octets each.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        nai: str,
        spi: int,
        keys: Mapping[wire.AuthenticationSubtype, bytes],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._identifier = wire.MobileNodeIdentifier(nai.encode())
        self._keys = keys
        blank = wire.MobilityAuthentication(wire.AuthenticationSubtype.MN_HA, spi)
        with_aaa = wire.MobilityAuthentication(wire.AuthenticationSubtype.MN_AAA, wire.HMAC_SHA1_SPI)
        self._blank = (blank, with_aaa) if wire.AuthenticationSubtype.MN_AAA in keys else (blank,)
        self._clock = clock
        self._ahead = 0  # of the home agent's clock to ours, in units of 2**-32 s
        self._timestamp = 0  # of the last update
        self._sent: SendUpdate | None = None

    def sealed(self, update: wire.BindingUpdate, action: SendUpdate) -> wire.BindingUpdate:
        """Complete an update by identity, a timestamp that is greater than all before, and authenticators."""
        now = (wire.ntp_timestamp(self._clock()) + self._ahead) % (1 << 64)
        self._timestamp = now if wire.skew(now, self._timestamp) > 0 or not self._timestamp else self._timestamp + 1
        self._sent = action
        options = (self._identifier, *update.options, wire.ReplayProtection(self._timestamp), *self._blank)
        return wire.sign(replace(update, options=options), self._keys, action.care_of, action.home_address)

    def proves_orders(self) -> bool:
        """Say no: RFC 4285 protects Binding Updates and Acknowledgements only."""
        return False

    def authentic(self, answer: wire.BindingAcknowledgement, octets: bytes) -> bool:
        """Whether the answer has the last update's timestamp and the home agent's authenticator (RFC 4285 section 6).

        A corrected timestamp of the home agent sets the clock of the next update.
        """
        if self._sent is None:
            return False
        replay = wire.option(answer, wire.ReplayProtection)
        key = self._keys[wire.AuthenticationSubtype.MN_HA]
        care_of, home = self._sent.care_of, self._sent.home_address
        genuine = wire.verify(octets, wire.AuthenticationSubtype.MN_HA, key, care_of, home)
        if answer.status == wire.BindingStatus.MIPV6_ID_MISMATCH:
            ours = replay is not None and replay.timestamp & _FRACTION == self._timestamp & _FRACTION
            if replay is not None and genuine and ours:
                self._ahead = replay.timestamp - wire.ntp_timestamp(self._clock())
                self._timestamp = 0  # it may have been ahead of the home agent's clock
            return genuine and ours
        return genuine and replay is not None and replay.timestamp == self._timestamp
