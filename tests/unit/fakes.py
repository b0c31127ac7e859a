"""What stands in for charon, raw sockets and links where the agents' own logic is tested."""

from __future__ import annotations

import asyncio
import json
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, ClassVar, Self

from testbed.mip6 import wire
from testbed.mip6.charon import IkeError, Notice, SecurityAssociation
from testbed.mip6.mobile_tunnel import MobileTunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    import pytest

    from testbed.mip6.icmp_socket import Heard as HeardIcmp
    from testbed.mip6.mobile_node import Configuration
    from testbed.mip6.signalling import Heard

HOME, OTHER_HOME = IPv6Address("2001:db8:b::1001"), IPv6Address("2001:db8:b::1002")
AGENT, SECOND = IPv6Address("2001:db8:b::1"), IPv6Address("2001:db8:b::2")
CARE_OF, MOVED = IPv6Address("2001:db8:1::19"), IPv6Address("2001:db8:2::19")


def association(
    number: int = 7,
    *,
    home: IPv6Address = HOME,
    peer: IPv6Address = CARE_OF,
    identity: str = "mn1@corp.example",
    at_mobile_node: bool = False,
) -> SecurityAssociation:
    own, of_peer = ((home,), ()) if at_mobile_node else ((), (home,))
    name = "home" if at_mobile_node else "mobile-nodes"
    return SecurityAssociation(number, name, identity, peer, own, of_peer, frozenset())


class FakeCharon:
    """A charon whose associations, notices and failures a test chooses; ``done`` is what it was asked for."""

    def __init__(self) -> None:
        self.present: list[SecurityAssociation] = []
        self.done: list[str] = []
        self.fails: dict[str, str] = {}
        self.established: SecurityAssociation | None = association(at_mobile_node=True)
        self._notices: asyncio.Queue[Notice] = asyncio.Queue()

    def notify(
        self,
        kind: str,
        about: SecurityAssociation,
        *,
        up: bool = True,
        new_peer: IPv6Address | None = None,
    ) -> None:
        self._notices.put_nowait(Notice(kind, about, up, new_peer))

    async def notices(self) -> AsyncIterator[Notice]:
        while True:
            yield await self._notices.get()

    async def associations(self) -> list[SecurityAssociation]:
        self._do("associations")
        return list(self.present)

    async def load(self, _name: str, connection: dict[str, Any]) -> None:
        self._do(f"load {connection['remote_addrs'][0]} {' '.join(connection['children'])}".strip())

    async def initiate(self, ike: str, child: str | None = None, *, deadline: float) -> None:
        assert deadline > 0
        self._do(f"initiate {child or ike}")
        if child is None and self.established:
            self.present.append(self.established)

    async def terminate(self, number: int) -> None:
        self._do(f"terminate {number}")
        self.present = [entry for entry in self.present if entry.number != number]

    async def appears(self, _address: IPv6Address, change: Callable[[], None]) -> None:
        self._do("appears")
        change()

    def _do(self, what: str) -> None:
        self.done.append(what)
        last = [entry for entry in self.done if entry.startswith("load")][-1:]
        for key in (what, *(f"{what} {entry.split()[1]}" for entry in last)):
            if key in self.fails:
                raise IkeError(self.fails[key], evidence=("[IKE] what charon logged",))


class FakeSocket:
    """A socket that is open until it is closed."""

    is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.is_open = False


class FakeSignalling(FakeSocket):
    """A socket for Mobility Headers: ``sent`` is what went out, ``hear`` has something come in."""

    opened: list[FakeSignalling]

    def __init__(self, address: IPv6Address, heard: Heard) -> None:
        self.address = address
        self.sent: list[tuple[wire.Message, IPv6Address]] = []
        self.broken = False
        self.answer: Callable[[wire.Message], wire.Message | None] | None = None
        self._heard = heard
        type(self).opened.append(self)

    def send(self, message: wire.Message, destination: IPv6Address) -> None:
        if self.broken:
            raise OSError(101, "Network is unreachable")
        self.sent.append((message, destination))

    def hear(self, message: wire.Message | bytes, source: IPv6Address) -> None:
        octets = message if isinstance(message, bytes) else wire.encode(message, source, self.address)
        self._heard(octets, source)


class FakeIcmpSocket(FakeSocket):
    """A socket for ICMPv6: ``sent`` is what went out, ``hear`` has something come in."""

    opened: ClassVar[list[FakeIcmpSocket]] = []

    def __init__(self, types: Iterable[wire.IcmpType], heard: HeardIcmp) -> None:
        self.types = tuple(types)
        self.sent: list[tuple[wire.IcmpMessage, IPv6Address, IPv6Address]] = []
        self.hear = heard
        type(self).opened.append(self)

    def send(self, message: wire.IcmpMessage, source: IPv6Address, destination: IPv6Address) -> None:
        self.sent.append((message, source, destination))


def notes(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """Return the agent's notes of a kind since this was last asked for."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


def tunnel(charon: FakeCharon, configuration: Configuration) -> MobileTunnel:
    with_interface = configuration.esp == "userland"
    return MobileTunnel(charon, configuration.nai, tunnel_interface=with_interface)  # type: ignore[arg-type]


def acknowledgement(sequence: int, status: int, units: int = 150) -> wire.BindingAcknowledgement:
    return wire.BindingAcknowledgement(status, wire.AckFlags(0), sequence, units)
