"""strongSwan's charon: IKEv2 (RFC 4877), driven over vici by the mobility agent of the same node.

It has no checker of its own: vici refuses a connection that it does not understand, and the agent reports that.
"""

from testbed.daemons.base import Daemon, etc, listens

STRONGSWAN = Daemon(
    name="strongswan",
    package="strongswan-charon",
    command=("/usr/lib/ipsec/charon",),
    ready=listens("strongswan/vici"),
    ready_means="charon answers on its vici socket",
    environment={"STRONGSWAN_CONF": etc("strongswan", "strongswan.conf")},
)
