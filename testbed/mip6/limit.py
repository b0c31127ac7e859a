"""Holding errors back to so many a second (RFC 4443 section 2.4, RFC 6275 section 9.3.3)."""

from __future__ import annotations

import time

_RATE, _BURST = 10.0, 10.0  # messages per second, at once: the RFCs leave the numbers open


class Limit:
    """A bucket of tokens."""

    def __init__(self) -> None:
        self._tokens, self._filled = _BURST, time.monotonic()

    def permits(self) -> bool:
        """Say whether one more message may go now, and count it."""
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _RATE)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
