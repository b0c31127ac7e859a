"""The JSON Schema of a topology, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from testbed.topology.model import Topology


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that a topology file has to match."""
    about = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mip6-testbed:topology",
    }
    return {**about, **Topology.model_json_schema(), "title": "Mobile IPv6 bootstrapping topology"}
