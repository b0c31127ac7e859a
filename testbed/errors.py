"""Every error that the testbed raises on purpose.

::

    TestbedError                  exit 1   something that we know of went wrong
    ├── UsageError                exit 2   the command line asks for what does not exist
    ├── TopologyError             exit 2   one or more problems in a topology file, all of them at once
    ├── UnsupportedError          exit 4   this machine cannot run it: a tool, a right, a kernel feature
    ├── LabError                  exit 1   a lab is in a state that does not allow this
    ├── ProcessError              exit 1   a program failed; carries its output
    │   └── CheckError            exit 1   a daemon's own checker refused its configuration
    ├── NotReadyError             exit 1   a condition was not met before its deadline; carries the last evidence
    ├── BootstrapError            exit 1   a mobile node did not bootstrap; names the step
    └── WireError                 exit 1   octets that are no valid message
        ├── ChecksumError         exit 1   a wrong checksum, or too few octets to tell; in mip6.wire
        └── UnknownTypeError      exit 1   a message of a type that the codec does not know; in mip6.wire

Each carries where it happened, what was found, what is allowed, a hint and the evidence, as far as they apply.
Only ``cli`` prints them or turns them into an exit code.
"""

from __future__ import annotations

from dataclasses import dataclass


class TestbedError(Exception):
    """Something that we know of went wrong.

    Args:
        message: one sentence, lower case, without a full stop.
        where: a file with line and column, a node, a daemon.
        hint: what the reader can do about it.
        evidence: the lines that show it, oldest first.
    """

    exit_code = 1
    __test__ = False  # pytest must not collect it by its name

    def __init__(self, message: str, *, where: str = "", hint: str = "", evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.evidence = evidence

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(TestbedError):
    """The command line asks for what does not exist."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a topology file: where, what was found, what is allowed, a hint.

    ``line`` and ``column`` count from 1; 0 means the file as a whole.
    """

    line: int
    column: int
    message: str
    hint: str = ""


class TopologyError(TestbedError):
    """One or more problems in a topology file, all of them at once, in the order of the file."""

    exit_code = 2

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{many} in the topology", where=path)
        self.path = path
        self.problems = tuple(sorted(problems))

    def lines(self) -> list[str]:
        """Return the problems as a person reads them: place and message, hint below, the count at the end."""
        text = []
        for problem in self.problems:
            place = f"{self.path}:{problem.line}:{problem.column}" if problem.line else self.path
            text.append(f"{place}: {problem.message}")
            if problem.hint:
                text.append(f"    hint: {problem.hint}")
        return [*text, self.message]


class UnsupportedError(TestbedError):
    """This machine cannot run it: a tool, a right or a kernel feature is missing."""

    exit_code = 4


class LabError(TestbedError):
    """A lab is in a state that does not allow this."""


class ProcessError(TestbedError):
    """A program failed; the evidence is the end of its output."""


class CheckError(ProcessError):
    """A daemon's own checker refused its configuration."""


class NotReadyError(TestbedError):
    """A condition was not met before its deadline; the evidence is what was seen last."""


class BootstrapError(TestbedError):
    """A mobile node did not bootstrap; ``step`` names where it stopped."""

    def __init__(
        self, message: str, *, step: str, where: str = "", hint: str = "", evidence: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, where=where, hint=hint, evidence=evidence)
        self.step = step


class WireError(TestbedError):
    """Octets that are no valid message.

    ``offset`` is where in the message, counted from its first octet, the value stands that is wrong; RFC 6275
    section 9.2 asks for it as the pointer of an ICMPv6 Parameter Problem.
    """

    def __init__(self, message: str, *, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset
