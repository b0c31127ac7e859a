"""Our own mobility agents, started like any other daemon; they wait for the charon of their node themselves."""

import sys

from testbed.daemons.base import Daemon, etc, listens

HOME_AGENT = Daemon(
    name="home-agent",
    package="",
    check=("nft", "--check", "--file", etc("home-agent", "guard.nft")),
    check_ip6tables=("ip6tables-legacy-restore", "--test", etc("home-agent", "guard.ip6tables")),
    command=(sys.executable, "-m", "testbed.mip6.home_agent", etc("home-agent", "home-agent.json")),
    ready=listens("home-agent/control"),
    ready_means="the home agent answers on its control socket",
)

MOBILE_NODE = Daemon(
    name="mobile-node",
    package="",
    check=("nft", "--check", "--file", etc("mobile-node", "guard.nft")),
    check_ip6tables=("ip6tables-legacy-restore", "--test", etc("mobile-node", "guard.ip6tables")),
    command=(sys.executable, "-m", "testbed.mip6.mobile_node", etc("mobile-node", "mobile-node.json")),
    ready=listens("mobile-node/control"),
    ready_means="the mobile node's agent answers on its control socket",
)
