"""Emulation testbed for bootstrapping Mobile IPv6 (RFC 4640) with real daemons."""

__version__ = "0.1.0"
