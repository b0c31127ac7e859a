"""Which daemons a host runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.daemons.agents import HOME_AGENT, MOBILE_NODE
from testbed.daemons.bind import BIND
from testbed.daemons.freeradius import FREERADIUS
from testbed.daemons.kea import KEA
from testbed.daemons.radvd import RADVD
from testbed.daemons.strongswan import STRONGSWAN
from testbed.topology.model import Service

if TYPE_CHECKING:
    from testbed.daemons.base import Daemon
    from testbed.topology.plan import Host

#: services without an entry need no daemon: the kernel forwards and answers
_DAEMONS = {
    Service.RADVD: RADVD,
    Service.KEA: KEA,
    Service.BIND: BIND,
    Service.FREERADIUS: FREERADIUS,
    Service.STRONGSWAN: STRONGSWAN,
    Service.HOME_AGENT: HOME_AGENT,
}
EVERY_DAEMON = (*_DAEMONS.values(), MOBILE_NODE)


def daemons_of(host: Host) -> tuple[Daemon, ...]:
    """Return the daemons that a host runs."""
    if host.mobile:
        return (STRONGSWAN, MOBILE_NODE) if host.ipsec else (MOBILE_NODE,)
    return tuple(daemon for service, daemon in _DAEMONS.items() if service in host.services)
