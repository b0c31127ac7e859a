"""Names of mobile nodes in the DNS, kept by their home agent (RFC 5026 sections 6 and 8, RFC 2136, RFC 8945)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.exception
import dns.name
import dns.rcode
import dns.tsig
import dns.update

from testbed.mip6 import wire
from testbed.mip6.journal import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TTL = 60  # seconds: a home address may be another one after the next bootstrap
_TIMEOUT = 1.0  # seconds; less than a mobile node waits for its first acknowledgement, 1.5 s


@dataclass(frozen=True)
class Zone:
    """A domain that the home agent may write into.

    Attributes:
        name: the domain.
        servers: its name servers, each of which gets every update.
        key_name: of the TSIG key.
        key: the key, base64.
        allowed: which name in it a mobile node may have, by the identity that it proved.
    """

    name: str
    servers: Sequence[IPv6Address]
    key_name: str
    key: str = field(repr=False)
    allowed: Mapping[str, str]

    @classmethod
    def of(cls, document: dict[str, Any]) -> Zone:
        """Read it from JSON."""
        return cls(**{**document, "servers": tuple(map(IPv6Address, document["servers"]))})

    def permits(self, identity: str, fqdn: str) -> bool:
        """Whether a mobile node may have a name: the one that is configured for it (RFC 5026 section 9.5)."""
        return self.allowed.get(identity, "").lower() == fqdn.removesuffix(".").lower()


class HomeNames:
    """The names that home addresses have by the home agent's doing.

    Args:
        zone: where they are; None if the home agent may write nowhere.
    """

    def __init__(self, zone: Zone | None) -> None:
        self._zone = zone
        self._written: dict[IPv6Address, str] = {}
        # one update of a home address at a time, so that the last one decided is the last one made
        self._turns: dict[IPv6Address, asyncio.Lock] = {}

    async def fulfil(self, identity: str, home_address: IPv6Address, wish: wire.DnsUpdate) -> wire.DnsUpdate:
        """Write or remove the record that a mobile node wishes to, and return the option that answers it."""
        zone = self._zone
        if zone is None or not zone.permits(identity, wish.fqdn):
            status = wire.DnsStatus.ADMINISTRATIVELY_PROHIBITED
        else:
            name = wish.fqdn.removesuffix(".").lower()
            async with self._turn(home_address):
                status = await _send(zone, name, home_address, remove=wish.remove)
            if wish.remove:
                self._written.pop(home_address, None)
            elif status is wire.DnsStatus.PERFORMED:
                self._written[home_address] = name
        note("dns update", home_address=home_address, name=wish.fqdn, remove=wish.remove, status=status.name)
        return replace(wish, status=status)

    def keep(self, home_address: IPv6Address) -> None:
        """Leave a record as it is: the mobile node uses its home address still, at home (RFC 5026 section 6)."""
        self._written.pop(home_address, None)

    async def remove(self, home_address: IPv6Address) -> None:
        """Remove the record of a home address whose binding ended without its mobile node (RFC 5026 section 6)."""
        async with self._turn(home_address):
            name = self._written.pop(home_address, None)
            if self._zone is None or name is None:
                return
            status = await _send(self._zone, name, home_address, remove=True)
        note("dns update", home_address=home_address, name=name, remove=True, status=status.name)

    def _turn(self, home_address: IPv6Address) -> asyncio.Lock:
        return self._turns.setdefault(home_address, asyncio.Lock())


async def _send(zone: Zone, name: str, home_address: IPv6Address, *, remove: bool) -> wire.DnsStatus:
    key = dns.tsig.Key(zone.key_name, zone.key, dns.tsig.HMAC_SHA256)
    update = dns.update.UpdateMessage(zone.name, keyring=key)
    owner = dns.name.from_text(name)
    if remove:
        update.delete(owner, "AAAA", str(home_address))
    else:
        update.replace(owner, _TTL, "AAAA", str(home_address))
    answers = await asyncio.gather(*(_ask(update, server) for server in zone.servers))
    return wire.DnsStatus.PERFORMED if all(answers) else wire.DnsStatus.FAILED


async def _ask(update: dns.update.UpdateMessage, server: IPv6Address) -> bool:
    """Send an update to a server and return whether it says, under the same key, that it is done."""
    try:
        answer = await dns.asyncquery.udp(update, str(server), timeout=_TIMEOUT, ignore_unexpected=True)
    except (dns.exception.DNSException, OSError) as error:
        note("dns update failed", server=server, reason=str(error) or type(error).__name__)
        return False
    if answer.rcode() != dns.rcode.NOERROR:
        note("dns update failed", server=server, reason=dns.rcode.to_text(answer.rcode()))
    return answer.rcode() == dns.rcode.NOERROR
