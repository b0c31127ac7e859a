"""What home agents and mobile nodes ask of the way that signalling and payload take between them.

A carrier knows who sent a message and how to reach the other end; what a message means is the agents' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from testbed.mip6 import wire
    from testbed.mip6.discovery import HomeAgent
    from testbed.mip6.retransmission import SendUpdate
    from testbed.mip6.steps import Steps


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
    """What is known of a message's sender; ``authorization`` None if nothing proves it (see ``policy.Request``).

    ``context`` is what the carrier wants to know again when it sends the answer.
    """

    identity: str
    authorization: wire.BindingStatus | None
    timely: bool = False
    context: object = None


NO_PROOF = Proof("", None)
Heard = Callable[[Received], None]
Gone = Callable[["IPv6Address"], None]


class HomeAgentCarrier(Protocol):
    """The way between a home agent and its mobile nodes."""

    async def run(self, heard: Heard, gone: Gone) -> None:
        """Serve until cancelled: tell each message, and each home address whose security association ended."""

    def proof(self, received: Received, message: wire.BindingUpdate, care_of: IPv6Address) -> Proof | None:
        """Return what is known of the sender, None if ``learn`` may find out more."""

    async def learn(self, received: Received, message: wire.BindingUpdate, care_of: IPv6Address) -> None:
        """Bring what is known of senders up to date, of this one's at least."""

    def last_word(self, received: Received) -> Proof:
        """Return what to believe of the sender if ``proof`` knows nothing even after ``learn``."""

    def send(
        self,
        message: wire.Message,
        home_address: IPv6Address,
        destination: IPv6Address,
        *,
        type2: bool,
        context: object = None,
    ) -> None:
        """Send a message to a mobile node, with ``type2`` by a type 2 routing header; ``context`` is the proof's."""

    async def admit(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Carry packets from and to a home address."""

    async def retarget(self, home_address: IPv6Address, care_of: IPv6Address) -> None:
        """Carry them to another care-of address."""

    async def expel(self, home_address: IPv6Address) -> None:
        """Carry them no more."""

    def status(self) -> dict[str, Any]:
        """Tell what there is to know of the carrier."""


@dataclass(frozen=True, slots=True)
class Home:
    """What bootstrapping gives beside a security association (RFC 4640 section 3): a home agent and a home address."""

    agent: HomeAgent
    address: IPv6Address


HeardByMobileNode = Callable[[bytes, "IPv6Address"], None]
"""Takes a Mobility Header to the home address, or to the care-of address if there is no routing header, its source."""


class MobileCarrier(Protocol):
    """The way between a mobile node and its home agent."""

    async def run(self, lost: Callable[[], None]) -> None:
        """Follow until cancelled what may end the way, and tell when something did."""

    async def reach(self, agents: list[HomeAgent], care_of: IPv6Address, steps: Steps) -> Home:
        """Get a home address, and a tunnel, from the first of the home agents that gives one.

        Raises:
            BootstrapError: none does; names the step.
        """

    async def before_moving(self) -> None:
        """Note what ``follow`` has to know of how it was."""

    async def follow(self, home: Home, care_of: IPv6Address, steps: Steps) -> None:
        """Take the tunnel to another care-of address.

        Raises:
            BootstrapError: it does not come along.
        """

    async def at_home(self, home: Home, prefix_length: int) -> None:
        """Prepare the deletion of the binding on the home link (RFC 6275 section 11.5.5)."""

    async def leave(self) -> None:
        """Give up tunnel and home address, as far as there are any."""

    def open(self, home_address: IPv6Address, home_agent: IPv6Address, heard: HeardByMobileNode) -> None:
        """Begin to send and to hear for a home address."""

    def close(self) -> None:
        """Undo ``open``; a second time does nothing."""

    def send(self, update: wire.BindingUpdate, action: SendUpdate) -> None:
        """Send a Binding Update as ``action`` says; does nothing unless ``open``.

        Raises:
            OSError: the kernel has no way to send it.
        """

    def answer(self, message: wire.Message, update: SendUpdate) -> None:
        """Answer the home agent the way that the last update went; does nothing unless ``open``.

        Raises:
            OSError: the kernel has no way to send it.
        """

    def proves_orders(self) -> bool:
        """Say whether what else is heard is the home agent's too: an order to leave must not be anybody's."""

    def authentic(self, answer: wire.BindingAcknowledgement, octets: bytes) -> bool:
        """Say whether an acknowledgement that was heard is the home agent's and answers the last update."""
