"""Driving charon over vici: connections, credentials, the two phases of a mobile node, and what happens to SAs.

Two phases, so that the home address is known before there are selectors that name it: IKE_AUTH without a child
(RFC 6023) brings the home address (RFC 5026 section 5.3.1), then CREATE_CHILD_SA brings the tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any, TypeVar

import vici

from testbed.errors import TestbedError
from testbed.wait import Unmet, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

VICI_SOCKET = "/run/lab/var/strongswan/vici"
IKE_PROPOSALS = ("aes128-sha256-x25519",)
ESP_PROPOSALS = ("aes128-sha256",)
CHILD = "home"
POOL = "home"
_START_DEADLINE = 10.0
_NOTICE_DEADLINE = 2.0  # seconds
_QUIET = 0.002
_EVENTS = ("ike-updown", "ike-update", "child-updown", "child-rekey")
_CARRYING = ("INSTALLED", "REKEYING", "REKEYED", "DELETING")  # states of a child that may still carry packets
_MOBIKE = "IKE_MOBIKE"
_T = TypeVar("_T")


class IkeError(TestbedError):
    """charon could not do what was asked; the evidence is what it logged meanwhile."""


@dataclass(frozen=True)
class SecurityAssociation:
    """An established IKE_SA: ``number`` is charon's own, ``identity`` what the peer proved to be."""

    number: int
    connection: str
    identity: str
    peer: IPv6Address
    own_addresses: tuple[IPv6Address, ...]  #: assigned to us
    peer_addresses: tuple[IPv6Address, ...]  #: assigned to the peer
    children: frozenset[int]  #: charon's numbers of the established CHILD_SAs
    local: IPv6Address | None = None  #: our end of it
    moving: bool = False  #: whether MOBIKE is at work on it, and the peer has not confirmed yet


@dataclass(frozen=True)
class Notice:
    """An event of charon: ``kind`` is vici's name of it; ``up`` False when the SA is gone."""

    kind: str
    association: SecurityAssociation
    up: bool
    new_peer: IPv6Address | None = None


class Charon:
    """charon of this node; ``reach`` makes one."""

    def __init__(self, session: Any, path: str) -> None:
        self._path = path
        self._session = session
        self._lock = asyncio.Lock()

    @classmethod
    async def reach(cls, path: str = VICI_SOCKET) -> Charon:
        """Wait until charon, which may be starting, answers.

        Raises:
            NotReadyError: it does not.
        """

        def answers() -> Any:
            try:
                return _connect(path)
            except IkeError as error:
                raise Unmet(error.message) from error

        session = await wait_until(answers, deadline=_START_DEADLINE, what="charon answers")
        return cls(session, path)

    async def trust(self, certificate: str) -> None:
        """Add a trust anchor, PEM."""
        await self._command(lambda s: s.load_cert({"type": "X509", "flag": "CA", "data": certificate.encode()}))

    async def private_key(self, key: str) -> None:
        """Add a private key, PEM."""
        await self._command(lambda s: s.load_key({"type": "any", "data": key.encode()}))

    async def password(self, identity: str, password: str) -> None:
        """Add the password of an EAP identity."""
        await self._command(
            lambda s: s.load_shared({"id": identity, "type": "EAP", "data": password.encode(), "owners": [identity]})
        )

    async def load(self, name: str, connection: dict[str, Any]) -> None:
        """Add a connection, or replace it: established SAs stay."""
        await self._command(lambda s: s.load_conn({name: connection}))

    async def pool(self, addresses: IPv6Network) -> None:
        """Give out addresses to who comes first; each identity keeps its own (RFC 5026 section 9.2)."""
        await self._command(lambda s: s.load_pool({POOL: {"addrs": str(addresses)}}))

    async def initiate(self, ike: str, child: str | None = None, *, deadline: float) -> None:
        """Establish an IKE_SA without a child, or a child of an established one.

        Raises:
            IkeError: the peer refused or did not answer within ``deadline`` seconds; carries charon's log lines.
        """
        request = {"ike": ike, "timeout": str(int(deadline * 1000)), "loglevel": "1"}
        if child:
            request["child"] = child
        await asyncio.to_thread(self._initiate, request)

    async def associations(self) -> list[SecurityAssociation]:
        """Return the established IKE_SAs."""
        listed = await self._command(lambda s: list(s.list_sas()))
        found = [_association(name, section) for entry in listed for name, section in _text(entry).items()]
        return [association for association in found if association is not None]

    async def terminate(self, number: int) -> None:
        """End an IKE_SA with its children, telling the peer."""
        request = {"ike-id": str(number), "timeout": "3000"}
        with contextlib.suppress(IkeError):  # it is gone already
            await self._command(lambda s: list(s.terminate(request)))

    async def appears(self, address: IPv6Address, change: Callable[[], None]) -> None:
        """Make a change by which an address appears on this node, and wait until charon has noticed.

        A child whose selector is an address that charon does not know yet fails: it cannot install its route.

        Raises:
            IkeError: charon did not notice.
        """
        await asyncio.to_thread(self._appears, f"{address} appeared on", change)

    async def notices(self) -> AsyncIterator[Notice]:
        """Give what happens to SAs from now on.

        Raises:
            IkeError: charon went away.
        """
        queue: asyncio.Queue[Notice | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        session = _connect(self._path)

        def listen() -> None:
            with contextlib.suppress(OSError, RuntimeError):  # charon or the loop ended
                for kind, message in session.listen(list(_EVENTS)):
                    notice = _notice(_text(kind or b""), _text(message or {}))
                    if notice:
                        loop.call_soon_threadsafe(queue.put_nowait, notice)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put_nowait, None)

        threading.Thread(target=listen, daemon=True, name="vici events").start()
        while notice := await queue.get():
            yield notice
        raise IkeError("charon went away")

    def _appears(self, words: str, change: Callable[[], None]) -> None:
        end = time.monotonic() + _NOTICE_DEADLINE
        made = False
        seen: deque[str] = deque(maxlen=5)
        try:
            with _connected(self._path) as session, contextlib.closing(session.listen(["log"], timeout=_QUIET)) as log:
                for _, entry in log:
                    if not made:  # from here on charon tells us what it logs
                        change()
                        made = True
                    line = _text(entry or {}).get("msg", "")
                    if words in line:
                        return
                    if line:
                        seen.append(line)
                    if time.monotonic() > end:
                        break
        except OSError as error:
            raise IkeError(f"charon went away: {error}", evidence=tuple(seen)) from error
        raise IkeError(f"charon did not notice within {_NOTICE_DEADLINE:g} s: {words}", evidence=tuple(seen))

    def _initiate(self, request: dict[str, str]) -> None:
        lines: list[str] = []
        try:
            with _connected(self._path) as session:
                for entry in session.initiate(request):
                    message = _text(entry)
                    lines.append(f"[{message.get('group', '?')}] {message.get('msg', '')}")
        except vici.exception.CommandException as error:
            raise IkeError(str(error), evidence=tuple(lines)) from error
        except OSError as error:
            raise IkeError(f"charon went away: {error}", evidence=tuple(lines)) from error

    async def _command(self, command: Callable[[Any], _T]) -> _T:
        async with self._lock:
            try:
                return await asyncio.to_thread(command, self._session)
            except vici.exception.CommandException as error:
                raise IkeError(str(error)) from error
            except OSError as error:
                raise IkeError(f"charon does not answer: {error}") from error


def mobile_node(*, nai: str, peer: IPv6Address, peer_name: str, children: dict[str, Any]) -> dict[str, Any]:
    """Describe a mobile node's connection to its home agent (RFC 5026 section 5.3, RFC 4877 section 9)."""
    return {
        "version": "2",
        "local_addrs": ["%any"],
        "remote_addrs": [str(peer)],
        "vips": ["::"],
        "childless": "force",
        "proposals": list(IKE_PROPOSALS),
        "local": {"auth": "eap-mschapv2", "id": nai, "eap_id": nai},
        "remote": {"auth": "pubkey", "id": peer_name},
        "children": children,
    }


def home_agent(*, address: IPv6Address, name: str, certificate: str, pool: bool = False) -> dict[str, Any]:
    """Describe a home agent's connection for all mobile nodes: they prove themselves to the AAA by EAP.

    AAA assigns their home addresses; with ``pool``, those that it assigns none get one from the home agent's.
    """
    return {
        "version": "2",
        "local_addrs": [str(address)],
        "pools": ["radius", *([POOL] if pool else [])],
        "proposals": list(IKE_PROPOSALS),
        "send_cert": "always",
        "local": {"auth": "pubkey", "certs": [certificate.encode()], "id": name},
        "remote": {"auth": "eap-radius", "id": "%any", "eap_id": "%any"},
        # dynamic stands for the home address that each mobile node was given
        "children": {CHILD: tunnel(local=["::/0"], remote=["dynamic"])},
    }


def tunnel(*, local: list[str], remote: list[str]) -> dict[str, Any]:
    """Describe the child that carries signalling and payload (RFC 4877 section 3, tunnel mode)."""
    return {"mode": "tunnel", "esp_proposals": list(ESP_PROPOSALS), "local_ts": local, "remote_ts": remote}


def _connect(path: str) -> Any:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise IkeError(f"charon does not answer on {path}: {error.strerror}") from error
    return vici.Session(connection)


@contextlib.contextmanager
def _connected(path: str) -> Iterator[Any]:
    """Give a session of its own, for what keeps a session busy."""
    session = _connect(path)
    try:
        yield session
    finally:
        with contextlib.suppress(OSError):  # charon closed it already
            session.transport.close()


def _text(value: Any) -> Any:
    """Turn vici's octets into text, all the way down."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, dict):
        return {_text(key): _text(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return value


def _association(name: str, section: dict[str, Any]) -> SecurityAssociation | None:
    if section.get("state") != "ESTABLISHED":
        return None
    return SecurityAssociation(
        number=int(section["uniqueid"]),
        connection=name,
        identity=section.get("remote-eap-id") or section.get("remote-id", ""),
        peer=IPv6Address(section["remote-host"]),
        own_addresses=_addresses(section.get("local-vips", ())),
        peer_addresses=_addresses(section.get("remote-vips", ())),
        children=frozenset(
            int(child["uniqueid"]) for child in section.get("child-sas", {}).values() if child.get("state") in _CARRYING
        ),
        local=IPv6Address(section["local-host"]),
        moving=any(_MOBIKE in section.get(tasks, ()) for tasks in ("tasks-active", "tasks-queued")),
    )


def _notice(kind: str, message: dict[str, Any]) -> Notice | None:
    name, section = next(((k, v) for k, v in message.items() if isinstance(v, dict)), ("", {}))
    up = message.get("up") == "yes" or kind in ("ike-update", "child-rekey")
    if section and not up:
        section = {**section, "state": "ESTABLISHED"}  # what it was until now
    association = _association(name, section)
    if association is None:
        return None
    peer = message.get("remote-host")
    return Notice(kind, association, up, IPv6Address(peer) if peer else None)


def _addresses(texts: Iterable[str]) -> tuple[IPv6Address, ...]:
    return tuple(IPv6Address(text) for text in texts)


def moved(association: SecurityAssociation, peer: IPv6Address) -> SecurityAssociation:
    """Return the association with its peer at another address."""
    return replace(association, peer=peer)
