"""Kea: DHCPv6 (RFC 8415), stateless and stateful."""

from testbed.daemons.base import VAR, Daemon, etc, udp_bound

_PORT = 547  # RFC 8415 section 7.2
_ENVIRONMENT = {"KEA_PIDFILE_DIR": f"{VAR}/kea", "KEA_LOCKFILE_DIR": "none"}

KEA = Daemon(
    name="kea",
    package="kea-dhcp6-server",
    check=("kea-dhcp6", "-t", etc("kea", "kea-dhcp6.conf")),
    command=("kea-dhcp6", "-c", etc("kea", "kea-dhcp6.conf")),
    # neither its log nor its control socket tells: with no usable link-local address it announces that it started,
    # and listens to nothing
    ready=udp_bound(_PORT),
    ready_means="Kea listens on UDP port 547",
    environment=_ENVIRONMENT,
)
