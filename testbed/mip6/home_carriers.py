"""Making the carrier that a home agent's configuration asks for."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from testbed.mip6 import charon
from testbed.mip6.authentication import HomeAuthentication, MobilityAssociation
from testbed.mip6.home_clear import HomeClear, Unprotected
from testbed.mip6.home_tunnel import HomeTunnel
from testbed.mip6.path import HomePath

if TYPE_CHECKING:
    from testbed.mip6.authentication import Aaa
    from testbed.mip6.carrier import HomeAgentCarrier
    from testbed.mip6.home_clear import Authentication
    from testbed.mip6.home_configuration import Configuration


async def carrier_of(configuration: Configuration) -> HomeAgentCarrier:
    """Make the carrier of the configured protection, ready to run."""
    return await _tunnel(configuration) if configuration.protection == "tunnel" else _clear(configuration)


async def _tunnel(configuration: Configuration) -> HomeTunnel:
    """Have charon accept mobile nodes."""
    charon_of_node = await charon.Charon.reach()
    await charon_of_node.trust(configuration.trust_anchor)
    await charon_of_node.private_key(configuration.key)
    if configuration.pool:
        await charon_of_node.pool(IPv6Network(configuration.pool))
    # a mobile node asks for the home agent by name, or by address if that is all that it knows
    for connection, name in (("by-name", configuration.identity), ("by-address", str(configuration.address))):
        described = charon.home_agent(
            address=configuration.address,
            name=name,
            certificate=configuration.certificate,
            pool=bool(configuration.pool),
        )
        await charon_of_node.load(connection, described)
    return HomeTunnel(configuration.address, charon_of_node)


def _clear(configuration: Configuration) -> HomeClear:
    """Have the kernel take packets out of tunnels that are not IPsec's."""
    own = map(IPv6Address, configuration.own_addresses)
    path = HomePath(configuration.address, own, configuration.home_link)
    path.prepare()
    return HomeClear(configuration.address, _authentication(configuration), path)


def _authentication(configuration: Configuration) -> Authentication:
    """Make what proves senders without IPsec."""
    known = configuration.mobile_nodes
    if configuration.protection == "none":
        return Unprotected({IPv6Address(entry["home_address"]): entry["nai"] for entry in known})
    associations = [
        MobilityAssociation(entry["nai"], IPv6Address(entry["home_address"]), entry["spi"], bytes.fromhex(entry["key"]))
        for entry in known
    ]
    return HomeAuthentication(associations, _aaa(configuration))


def _aaa(configuration: Configuration) -> Aaa | None:
    if not configuration.radius:
        return None
    from testbed.mip6.radius import Radius  # noqa: PLC0415 - others need not load its library

    server, secret = IPv6Address(configuration.radius["server"]), configuration.radius["secret"]
    return Radius(server, secret, configuration.identity, configuration.address)
