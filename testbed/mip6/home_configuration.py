"""What a home agent is started with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Configuration:
    """What a home agent is started with.

    ``esp``, ``certificate``, ``key`` and ``trust_anchor`` (PEM) count in protection ``tunnel``, ``own_addresses`` (all
    of its node) and ``mobile_nodes`` (who may have which home address) in the others; ``radius`` (address and secret of
    the AAA server) where it has to be asked.
    """

    identity: str
    address: IPv6Address
    home_link: str
    home_prefix: IPv6Network
    preference: int
    retrans_timer: float
    prefix_interval: tuple[float, float]
    owners: dict[str, str] = field(default_factory=dict)
    reserved: tuple[str, ...] = ()
    pool: str = ""
    protection: str = "tunnel"
    esp: str = ""
    certificate: str = ""
    key: str = ""
    trust_anchor: str = ""
    dns: dict[str, Any] | None = field(default=None, repr=False)
    own_addresses: tuple[str, ...] = ()
    mobile_nodes: tuple[dict[str, Any], ...] = ()
    radius: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read it from JSON."""
        document = json.loads(path.read_text())
        document["address"] = IPv6Address(document["address"])
        document["home_prefix"] = IPv6Network(document["home_prefix"])
        document["prefix_interval"] = tuple(document["prefix_interval"])
        return cls(**document)
