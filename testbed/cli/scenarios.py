"""Where scenarios are found: the topologies of this project by name, any other by its path."""

from __future__ import annotations

import difflib
from pathlib import Path

from testbed.errors import UsageError

FOLDER = Path(__file__).parents[2] / "topologies"


def every() -> dict[str, Path]:
    """Return the project's scenarios by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find(scenario: str) -> Path:
    """Return the topology file of a scenario.

    Raises:
        UsageError: there is none; names the nearest.
    """
    known = every()
    if scenario in known:
        return known[scenario]
    path = Path(scenario)
    if "/" in scenario or scenario.endswith((".yaml", ".yml")):
        return path
    near = difflib.get_close_matches(scenario, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"scenarios: {', '.join(known)}; or the path of a topology file"
    raise UsageError(f"there is no scenario {scenario!r}", hint=hint)
