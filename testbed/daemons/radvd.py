"""radvd: router advertisements (RFC 4861), with RFC 6275's options on home links."""

from testbed.daemons.base import VAR, Daemon, etc, file_exists

RADVD = Daemon(
    name="radvd",
    package="radvd",
    check=("radvd", "--configtest", "--config", etc("radvd", "radvd.conf")),
    command=(
        *("radvd", "--nodaemon", "--logmethod", "stderr"),
        *("--config", etc("radvd", "radvd.conf"), "--pidfile", f"{VAR}/radvd/radvd.pid"),
    ),
    ready=file_exists("radvd/radvd.pid"),  # written last before its main loop
    ready_means="radvd entered its main loop",
)
