"""Passwords that a topology keeps in files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.topology.model import EapMschapv2

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.topology.model import Topology


def passwords_of(topology: Topology, folder: Path) -> dict[str, str]:
    """Return the passwords that are written in files, by mobile node; the checks saw that the files are sound."""
    return {
        name: (folder / mobile.credential.password_file).read_text().removesuffix("\n")
        for name, mobile in topology.mobile_nodes.items()
        if isinstance(mobile.credential, EapMschapv2) and mobile.credential.password_file
    }
