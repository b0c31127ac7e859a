"""``testbed doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from testbed.cli import json_argument
from testbed.cli.scenarios import every
from testbed.doctor import Diagnosis, Finding, examine
from testbed.errors import TopologyError, UnsupportedError
from testbed.topology.load import load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from testbed.console import Console


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    json_argument(parser)


async def run(_options: argparse.Namespace, console: Console) -> int:
    """Say what this machine can run; 4 if it can run no scenario."""
    diagnosis = await examine()
    scenarios = _scenarios(diagnosis)
    for title, findings in (
        ("machine", diagnosis.machine),
        ("tools", diagnosis.tools),
        ("kernel, each feature tried", diagnosis.features),
    ):
        console.heading(title)
        console.table(("", "", ""), _rows(findings))
    console.heading("protections of Binding Updates")
    console.table(
        ("", "", ""),
        ((name.value, "no" if why else "can run", why) for name, why in diagnosis.protections.items()),
    )
    console.heading("scenarios")
    console.table(("", "", ""), ((name, "no" if why else "can run", why) for name, why in scenarios.items()))
    document = {
        "machine": [asdict(finding) for finding in diagnosis.machine],
        "tools": [asdict(finding) for finding in diagnosis.tools],
        "features": [asdict(finding) for finding in diagnosis.features],
        "protections": diagnosis.protections,
        "scenarios": scenarios,
    }
    console.result(document)
    return 0 if any(not why for why in scenarios.values()) else UnsupportedError.exit_code


def _rows(findings: Iterable[Finding]) -> Iterable[tuple[str, str, str]]:
    for finding in findings:
        yield finding.name, finding.found or "missing", finding.missing or finding.purpose


def _scenarios(diagnosis: Diagnosis) -> dict[str, str]:
    """Map each scenario to what is missing for it, the empty string if nothing is."""
    verdicts = {}
    for name, path in every().items():
        try:
            protection = load(path).protection
        except TopologyError as error:
            verdicts[name] = error.message
        else:
            verdicts[name] = "; ".join(diagnosis.missing) or diagnosis.protections[protection]
    return verdicts
