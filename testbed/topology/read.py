"""Read a topology file: octets in, text out, and a plain sentence for all that can be wrong with a file."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from itertools import islice
from typing import TYPE_CHECKING

from testbed.errors import Problem, TopologyError
from testbed.topology.words import suggest

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 256 * 1024  #: octets of a topology file

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read(path: Path) -> str:
    """Return the text of a topology file.

    Raises:
        TopologyError: it is no readable regular file of at most 256 KiB of printable UTF-8.
    """
    octets = _octets(path)
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8-sig", "replace")
        problem = Problem(*_place(before), "this is not UTF-8 text", "save the file with the encoding UTF-8")
        raise TopologyError(str(path), (problem,)) from None
    bad = _bad_character(text)
    if bad is not None:
        raise TopologyError(str(path), (bad,))
    return text


def printable(character: str) -> bool:
    """Say whether a character may stand in a line of text; controls and reversals of direction may not."""
    if character in "\u200c\u200d":  # joiners, which some scripts cannot be written without
        return True
    unseen = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return not unseen and character not in "\ufffe\uffff"


def _octets(path: Path) -> bytes:
    """Read all octets of a regular file without ever waiting for a pipe or waking a device."""
    try:
        _refuse_special(path, os.stat(path).st_mode)  # noqa: PTH116 - follows links, as open does
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            _refuse_special(path, os.fstat(descriptor).st_mode)
            octets = file.read(LIMIT + 1)
    except ValueError:
        raise _refusal(path, "this path contains a NUL character") from None
    except OSError as error:
        raise _refusal(path, *_why(path, error)) from None
    if len(octets) > LIMIT:
        hint = "a topology is a few kilobytes of text; is this the right file?"
        raise _refusal(path, f"the file is larger than {LIMIT // 1024} KiB", hint)
    return octets


def _refuse_special(path: Path, mode: int) -> None:
    """Refuse whatever is no regular file."""
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
        raise _refusal(path, f"this is {kind}, not a file", "name a .yaml file")


def _refusal(path: Path, message: str, hint: str = "") -> TopologyError:
    """Return the error for a file that cannot be used as a whole."""
    return TopologyError(str(path), (Problem(0, 0, message, hint),))


def _why(path: Path, error: OSError) -> tuple[str, str]:
    """Return in words why a file cannot be opened, and a hint."""
    if isinstance(error, FileNotFoundError):
        if not path.parent.is_dir():
            return "there is no such file", f"the folder '{path.parent}' does not exist"
        return "there is no such file", _neighbour(path)
    if isinstance(error, PermissionError):
        return "you may not read this file", "give yourself the right to read it: chmod u+r"
    if error.errno == errno.ELOOP:
        return "this is a symbolic link that leads back to itself", ""
    return f"the file cannot be read: {(error.strerror or str(error)).lower()}", ""


def _neighbour(path: Path) -> str:
    """Return a hint that names the topology in the same folder whose name is most like a missing one's."""
    try:
        entries = [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except OSError:
        return ""
    names = sorted(name for name in entries if name.endswith(".yaml") and all(map(printable, name)))
    return suggest(path.name, names, "topologies in this folder")


def _place(before: str) -> tuple[int, int]:
    """Return line and column of the character that follows a text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _bad_character(text: str) -> Problem | None:
    """Return a problem for the first character that a topology may not contain, if there is one."""
    for index, character in enumerate(text):
        if " " <= character <= "~" or character == "\n" or text[index : index + 2] == "\r\n":
            continue
        if character == "\t":
            more = sum("\t" in line for line in text[index:].split("\n")) - 1
            also = f" (and on {more} more line{'s' if more > 1 else ''})" if more else ""
            return Problem(*_place(text[:index]), f"a tab character{also}", "use spaces, as YAML asks for")
        if not printable(character):
            name = unicodedata.name(character, "a control character").lower()
            message = f"a character that cannot be printed: U+{ord(character):04X} ({name})"
            return Problem(*_place(text[:index]), message, "remove it")
    return None
