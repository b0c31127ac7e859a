"""What a home agent asks of the way that signalling and payload take between it and its mobile nodes.

A carrier knows who sent a message and how to reach a mobile node; what a message means is the home agent's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from testbed.mip6 import wire


@dataclass(frozen=True, slots=True)
class Received:
    """A Mobility Header as it came.

    Attributes:
        octets: the Mobility Header.
        home_address: that of the Home Address option, else the (inner) source (RFC 6275 section 9.5.1).
        source: where the packet, or the tunnel that it came out of, began.
        reply_to: where an ICMPv6 error about it goes.
        home_address_option: whether there was one.
    """

    octets: bytes
    home_address: IPv6Address
    source: IPv6Address
    reply_to: IPv6Address
    home_address_option: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of a message's sender; ``authorization`` None if nothing proves it (see ``policy.Request``)."""

    identity: str
    authorization: wire.BindingStatus | None
    timely: bool = False


NO_PROOF = Proof("", None)
Heard = Callable[[Received], None]
Gone = Callable[["IPv6Address"], None]


class HomeAgentCarrier(Protocol):
    """The way between a home agent and its mobile nodes."""

    async def run(self, heard: Heard, gone: Gone) -> None:
        """Serve until cancelled: tell each message, and each home address whose security association ended."""

    def proof(self, received: Received, message: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Return what is known of the sender, None if ``learn`` may find out more."""

    async def learn(self) -> None:
        """Bring what is known of senders up to date."""

    def last_word(self, received: Received) -> Proof:
        """Return what to believe of the sender if ``proof`` knows nothing even after ``learn``."""

    def send(self, message: wire.Message, home_address: IPv6Address, destination: IPv6Address, *, type2: bool) -> None:
        """Send a message to a mobile node, with ``type2`` by a type 2 routing header."""

    async def admit(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Carry packets from and to a home address."""

    async def retarget(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Carry them to another care-of address."""

    async def expel(self, home_address: IPv6Address) -> None:
        """Carry them no more."""

    def status(self) -> dict[str, Any]:
        """Tell what there is to know of the carrier."""
