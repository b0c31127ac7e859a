"""A stand-in for the one name of distutils that Mininet 2.3 imports, to compare versions of Open vSwitch.

Python 3.12 has no distutils any more; where setuptools offers its own in its place, importing that takes longer than
everything else together.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Self


class StrictVersion(tuple[int, ...]):
    """A version such as 2.17.9, comparable."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read a version."""
        return super().__new__(cls, map(int, text.split(".")))


def provide() -> None:
    """Have ``distutils.version.StrictVersion`` found here, unless distutils is loaded already."""
    if "distutils" in sys.modules:
        return
    package, version = ModuleType("distutils"), ModuleType("distutils.version")
    version.StrictVersion = StrictVersion  # type: ignore[attr-defined]
    package.version = version  # type: ignore[attr-defined]
    sys.modules |= {"distutils": package, "distutils.version": version}
