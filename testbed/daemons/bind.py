"""BIND: the operators' domains, with home agents under ``_mip6._ipv6`` (RFC 5026 section 5.1.2)."""

from testbed.daemons.base import Daemon, etc, log_says

BIND = Daemon(
    name="bind",
    package="bind9",
    check=("named-checkconf", "-z", etc("bind", "named.conf")),
    command=("named", "-g", "-n", "1", "-u", "bind", "-c", etc("bind", "named.conf")),
    ready=log_says("bind", " running"),
    ready_means="named loaded its zones and runs",
    user="bind",
)
