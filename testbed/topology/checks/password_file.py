"""A password file is beside its topology and holds one password; no message ever repeats a part of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

LIMIT = 256  #: octets of a password file

_RULE = "it holds one line of printable ASCII without '\"' and '\\'"


def flaw(file: str, folder: Path) -> tuple[str, str] | None:
    """Return what is wrong with a password file, as the end of a sentence, and a hint; else nothing."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        reason = "is an absolute path" if path.is_absolute() else "has '..' in its path"
        return reason, "write a path inside the folder of the topology"
    try:
        real = Path(os.path.realpath(folder / path, strict=True))
        if not real.is_relative_to(os.path.realpath(folder)):
            return (
                "is a symbolic link that leads out of the topology's folder",
                "put a copy of the file there",
            )
        if not stat.S_ISREG(real.stat().st_mode):
            return "is not a regular file", _RULE
        content = _octets(real)
    except FileNotFoundError:
        return "does not exist", "its path starts at the folder of the topology"
    except OSError as error:
        return f"cannot be read: {(error.strerror or 'unknown reason').lower()}", ""
    return _content_flaw(content)


def _octets(path: Path) -> bytes:
    """Return a file's content, or one octet more than allowed, without waiting for a pipe."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        return file.read(LIMIT + 1)


def _content_flaw(content: bytes) -> tuple[str, str] | None:
    """Return what is wrong with the content of a password file, without a word of it."""
    if len(content) > LIMIT:
        return f"is larger than {LIMIT} octets", _RULE
    line = content.removesuffix(b"\n")
    if not line:
        return "is empty", _RULE
    if b"\n" in line or b"\r" in line:
        return "has more than one line, or a line that ends with a carriage return", _RULE
    if any(octet < 0x20 or octet > 0x7E or octet in b'"\\' for octet in line):  # noqa: PLR2004 - space to tilde
        return "contains a character that a password cannot have", _RULE
    return None
