"""FreeRADIUS: AAA of an operator, for its own subscribers and as a proxy to the others' (RFC 5637)."""

from testbed.daemons.base import Daemon, etc, log_says
from testbed.render.render import FREERADIUS_USER

_FOLDER = etc("freeradius", "").rstrip("/")

FREERADIUS = Daemon(
    name="freeradius",
    package="freeradius",
    check=("freeradius", "-C", "-l", "stdout", "-d", _FOLDER),
    command=("freeradius", "-f", "-l", "stdout", "-d", _FOLDER),
    ready=log_says("freeradius", "Ready to process requests"),
    ready_means="FreeRADIUS is ready to process requests",
    user=FREERADIUS_USER,
)
