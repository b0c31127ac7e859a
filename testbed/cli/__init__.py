"""The command line: the only place that prints or exits.

A command is a module of this package with ``arguments(parser)`` and ``async run(options, console) -> exit code``;
``COMMANDS`` names them all. Only the module of the command that was asked for is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import __version__
from testbed.console import Console
from testbed.errors import TestbedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

COMMANDS = {
    "scenarios": "list the scenarios that can be run",
    "validate": "check a topology, every problem at once",
    "render": "write the configuration files of every node into a folder",
    "up": "bring a lab up and bootstrap its mobile nodes",
    "bootstrap": "bootstrap mobile nodes of a running lab again",
    "move": "plug a mobile node into another network and show its handover",
    "deregister": "have a mobile node delete its binding",
    "trigger": "have a home agent refresh, revoke or hand over a mobile node's binding",
    "status": "show the nodes, daemons and bindings of a running lab",
    "exec": "run a program in a node",
    "shell": "open a shell in a node",
    "logs": "show the logs of a node",
    "cli": "open Mininet's prompt on a running lab",
    "down": "remove a lab without a trace",
    "clean": "remove every lab of this machine, also half-made ones",
    "doctor": "say what this machine can run, and what is missing",
    "schema": "print the JSON Schema of topologies, for editors",
}
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Takes the default of each option from the environment: ``--lab`` from ``TESTBED_LAB``."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an argument."""
        action = super().add_argument(*names, **settings)
        if action.option_strings and action.dest not in ("help", "version"):
            variable = f"TESTBED_{action.dest.upper()}"
            action.help = f"{action.help} (${variable})"
            if value := os.environ.get(variable):
                self._set_default(action, variable, value)
        return action

    def _set_default(self, action: argparse.Action, variable: str, value: str) -> None:
        if action.nargs == 0:
            action.default = value not in ("0", "no")
            return
        if action.choices is not None and value not in action.choices:
            self.error(f"{variable}: invalid choice: {value!r} (choose from {', '.join(map(repr, action.choices))})")
        action.default, action.required = value if action.nargs is None else value.split(), False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    try:
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # before a command began: modules are being imported
        sys.exit(INTERRUPTED)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code: 0 ok, 1 failed, 2 usage or topology, 4 unsupported, 130 interrupted."""
    name = arguments[0] if arguments else None
    if name not in COMMANDS:
        return _without_command(name)
    module = import_module(f"testbed.cli.{name}_command")
    options = _parse(name, module, list(arguments[1:]))
    console = Console(as_json=getattr(options, "json", False))
    # what was begun is undone on either; by way of SIGINT, as asyncio cancels its task on that and on no other
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if options.program and not getattr(module, "RUNS_PROGRAMS", False):
            raise UsageError(f"testbed {name} runs no program", hint=f"leave out: -- {' '.join(options.program)}")
        return int(asyncio.run(module.run(options, console)))
    except TestbedError as error:
        console.error(error)
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.interrupted(making=name == "up")
        return INTERRUPTED
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        console.error(TestbedError(f"{named}{error.strerror or error}"))
        return TestbedError.exit_code


def _parse(name: str, module: ModuleType, arguments: list[str]) -> argparse.Namespace:
    """Parse what stands before ``--``; what stands after it is a program and its arguments."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = Parser(prog=f"testbed {name}", description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
    module.arguments(parser)
    options = parser.parse_args(arguments[:end])
    options.program = arguments[end + 1 :]
    return options


def lab_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--lab`` and ``--json``, which almost every command has."""
    from testbed.lab import DEFAULT_NAME  # noqa: PLC0415  help and completion need no lab

    parser.add_argument(
        "--lab", default=DEFAULT_NAME, metavar="NAME", help=f"the name of the lab; default: {DEFAULT_NAME}"
    )
    json_argument(parser)


def json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def program_name() -> str:
    """Return how this program can be called from here: by its name if that is found, else by its path."""
    program = Path(sys.executable).with_name("testbed")
    if shutil.which("testbed") == str(program):
        return "testbed"
    return os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)


def _without_command(name: str | None) -> int:
    if name == "--version":
        sys.stdout.write(f"testbed {__version__}\n")
        return 0
    if name is None or name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {command:{width}}  {help_text}\n" for command, help_text in COMMANDS.items()]
        stream = sys.stdout if name else sys.stderr
        stream.write("usage: testbed COMMAND [OPTION ...]\n\n" + "".join(lines) + "\n")
        stream.write("testbed COMMAND --help says more; the documentation is in docs/.\n")
        return 0 if name else UsageError.exit_code
    Console().error(_unknown(name))
    return UsageError.exit_code


def _unknown(name: str) -> UsageError:
    import difflib  # noqa: PLC0415

    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(COMMANDS)}"
    return UsageError(f"there is no command {name!r}", hint=hint)
