"""Keys, certificates and secrets, derived from a topology's seed: the same seed gives the same octets.

They protect nothing outside a lab: whoever has the topology has its seed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from ipaddress import IPv6Address

_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)  # the last year that UTCTime can express (RFC 5280 section 4.1.2.5)
_ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Secret:
    """A secret that shows itself only when asked by ``reveal``."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __str__(self) -> str:
        return "(secret)"


@dataclass(frozen=True)
class Credentials:
    """A certificate with its private key, both PEM."""

    certificate: str
    key: Secret


@dataclass(frozen=True)
class Authority:
    """The lab's trust anchor and everything that is derived from its seed."""

    seed: int

    def secret(self, purpose: str) -> Secret:
        """Return the shared secret for a purpose: 32 hexadecimal digits, 128 bits."""
        return Secret(self._derive(purpose).hex()[:32])

    @cached_property
    def certificate(self) -> str:
        """The trust anchor's certificate, PEM."""
        return _pem(self._root)

    def issue(self, name: str, address: IPv6Address | None = None) -> Credentials:
        """Return a server certificate for a DNS name, and for an address, with its key (RFC 4945 section 5.1.3)."""
        key = self._key(f"key of {name}")
        builder = _builder(name, key, self._root.subject, self._serial(name))
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if address:
            names.append(x509.IPAddress(address))
        certificate = (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._root_key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(_pem(certificate), Secret(private.decode()))

    @cached_property
    def _root_key(self) -> ec.EllipticCurvePrivateKey:
        return self._key("key of the trust anchor")

    @cached_property
    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "testbed trust anchor")])
        return (
            _builder("testbed trust anchor", self._root_key, name, self._serial("trust anchor"))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._root_key, hashes.SHA256(), ecdsa_deterministic=True)
        )

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.seed.to_bytes(8, "big"), purpose.encode(), "sha256")

    def _key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        scalar = int.from_bytes(hashlib.sha512(self._derive(purpose)).digest(), "big") % (_ORDER_P256 - 1) + 1
        return ec.derive_private_key(scalar, ec.SECP256R1())

    def _serial(self, name: str) -> int:
        return int.from_bytes(self._derive(f"serial of {name}")[:15], "big")


def _builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
