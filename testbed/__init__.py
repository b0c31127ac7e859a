"""Containerised emulation testbed for bootstrapping Mobile IPv6 (RFC 4640)."""

__version__ = "0.1.0"
