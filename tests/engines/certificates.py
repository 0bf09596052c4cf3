"""A certificate authority for one test, and what it signs, as PEM files."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from crosstape.cli.ports import LOOPBACK

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate for LOOPBACK (not for `localhost`) and its key."""

    certificate: Path
    key: Path


class Authority:
    """Writes into `folder`. Like Strimzi's, its certificates do not name the key that signed them, unless it
    `names_key`: Python 3.13 asks for that."""

    def __init__(self, folder: Path, name: str = "authority", *, names_key: bool = False):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._names_key = names_key
        self.file = folder / f"{name}.pem"
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = _builder(self._name, self._name, self._key.public_key()).add_extension(usage, critical=True)
        self._write(self.file, builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True))

    def sign(self, name: str, passphrase: str = "") -> Signed:
        """A new certificate; its key is encrypted where there is a `passphrase`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))])
        builder = _builder(_name(name), self._name, key.public_key()).add_extension(names, critical=False)
        signed = Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        self._write(signed.certificate, builder)
        encryption: KeySerializationEncryption = NoEncryption()
        if passphrase:
            encryption = BestAvailableEncryption(passphrase.encode())
        signed.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return signed

    def _write(self, path: Path, builder: x509.CertificateBuilder) -> None:
        if self._names_key:
            public = self._key.public_key()
            signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
            builder = builder.add_extension(signer, critical=False)
            if path == self.file:
                builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
