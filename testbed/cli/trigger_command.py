"""``testbed trigger``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.cli import lab_argument
from testbed.errors import UsageError
from testbed.lab import find
from testbed.triggering import What, trigger

if TYPE_CHECKING:
    import argparse

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("home_agent", metavar="HOME-AGENT", help="a node that runs a home agent")
    parser.add_argument("what", choices=[what.value for what in What], help="what it is to do")
    parser.add_argument("node", metavar="NODE", help="the mobile node that it concerns")
    parser.add_argument(
        "--home-agents",
        nargs="*",
        metavar="HOME-AGENT",
        help="of switch: the home agents to go to, in this order, none to have it discover some; "
        "default: the others on the home link",
    )
    lab_argument(parser)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Have a home agent do something of its own accord."""
    what = What(options.what)
    if options.home_agents is not None and what is not What.SWITCH:
        raise UsageError(f"{what} takes no --home-agents", hint="it is for switch")
    outcome = await trigger(find(options.lab), options.home_agent, what, options.node, options.home_agents)
    console.text(f"{options.home_agent} {what} {options.node}: {outcome}\n")
    console.result({"home_agent": options.home_agent, "what": what, "node": options.node, "outcome": outcome})
    return 0
