"""Home networks and home agents in DHCPv6: octets to values and back, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from testbed.errors import WireError
from testbed.mip6.dhcpv6 import Code, Option, decode_options, encode_options
from testbed.mip6.names import decode_name, encode_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_ADDRESS = 16
_BITS = 128


class HomeNetworkKind(StrEnum):
    """Which container a home network came in (RFC 6610 section 3.2)."""

    VISITED = "visited"
    IDENTIFIED = "identified"
    UNRESTRICTED = "unrestricted"


_CONTAINERS: dict[int, HomeNetworkKind] = {
    Code.VISITED: HomeNetworkKind.VISITED,
    Code.IDENTIFIED: HomeNetworkKind.IDENTIFIED,
    Code.UNRESTRICTED: HomeNetworkKind.UNRESTRICTED,
}


@dataclass(frozen=True, slots=True)
class HomeNetworkInfo:
    """A home network that DHCPv6 tells of: its prefixes and its home agents, the first usable first.

    ``identifier`` is the FQDN that was asked for and empty unless the kind is ``IDENTIFIED``. An address in
    64:ff9b::/96 stands for an IPv4 address and is to be used over IPv4 only (RFC 6610 section 4.1.2).
    """

    kind: HomeNetworkKind
    identifier: str = ""
    prefixes: tuple[IPv6Network, ...] = ()
    addresses: tuple[IPv6Address, ...] = ()
    fqdns: tuple[str, ...] = ()


def home_networks(options: Iterable[Option], asked: Iterable[str] = ()) -> tuple[HomeNetworkInfo, ...]:
    """Give the home networks among the options of a message, in their order.

    Discarded are options of a home network outside of a container, a container that is malformed or names no
    home agent, and an identified one for an FQDN that is not in ``asked``.

    Source: RFC 6610 section 4.1.2.
    """
    wanted = {name.removesuffix(".").lower() for name in asked}
    found: list[HomeNetworkInfo] = []
    for code, octets in options:
        kind = _CONTAINERS.get(code)
        if kind is None:
            continue
        try:
            network = _home_network(kind, octets)
        except WireError:
            continue
        complete = network.addresses or network.fqdns
        if complete and (kind != HomeNetworkKind.IDENTIFIED or network.identifier in wanted):
            found.append(network)
    return tuple(found)


def encode_home_network(network: HomeNetworkInfo) -> Option:
    """Give the container of a home network.

    Raises:
        WireError: a name in it is no domain name.

    Source: RFC 6610 section 3.
    """
    options: list[Option] = []
    if network.kind == HomeNetworkKind.IDENTIFIED:
        options.append((Code.HOME_NETWORK_ID, encode_name(network.identifier)))
    prefixes = (bytes((p.prefixlen,)) + p.network_address.packed for p in network.prefixes)
    options += ((Code.HOME_PREFIX, prefix) for prefix in prefixes)
    options += ((Code.HOME_AGENT_ADDRESS, address.packed) for address in network.addresses)
    options += ((Code.HOME_AGENT_FQDN, encode_name(name)) for name in network.fqdns)
    code = next(code for code, kind in _CONTAINERS.items() if kind == network.kind)
    return code, encode_options(options)


def _home_network(kind: HomeNetworkKind, octets: bytes) -> HomeNetworkInfo:
    inside: dict[int, list[bytes]] = {}
    for code, body in decode_options(octets):
        inside.setdefault(code, []).append(body)
    identifier = ""
    if kind == HomeNetworkKind.IDENTIFIED:
        identifiers = inside.get(Code.HOME_NETWORK_ID, [])
        if len(identifiers) != 1:
            raise WireError(f"an identified home network with {len(identifiers)} identifiers")
        identifier = decode_name(identifiers[0])
    return HomeNetworkInfo(
        kind,
        identifier,
        tuple(map(_home_prefix, inside.get(Code.HOME_PREFIX, []))),
        tuple(map(_home_agent, inside.get(Code.HOME_AGENT_ADDRESS, []))),
        tuple(map(decode_name, inside.get(Code.HOME_AGENT_FQDN, []))),
    )


def _home_prefix(octets: bytes) -> IPv6Network:
    if len(octets) != 1 + _ADDRESS or octets[0] > _BITS:
        raise WireError("a home network prefix of a wrong length")
    return IPv6Network((octets[1:], octets[0]), strict=False)


def _home_agent(octets: bytes) -> IPv6Address:
    if len(octets) != _ADDRESS:
        raise WireError(f"a home agent address of {len(octets)} octets")
    address = IPv6Address(octets)
    if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        raise WireError(f"{address} is no address of a home agent")
    return address
