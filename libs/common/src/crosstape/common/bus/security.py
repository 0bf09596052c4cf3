"""How the broker is spoken to: in the clear or over TLS, and as whom. Messages name the variables of the settings."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct
from pydantic import SecretStr

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

PROTOCOL = "CROSSTAPE_KAFKA_SECURITY_PROTOCOL"
CA_FILE = "CROSSTAPE_KAFKA_SSL_CA_FILE"
CERTIFICATE_FILE = "CROSSTAPE_KAFKA_SSL_CERTIFICATE_FILE"
KEY_FILE = "CROSSTAPE_KAFKA_SSL_KEY_FILE"
MECHANISM = "CROSSTAPE_KAFKA_SASL_MECHANISM"
USERNAME = "CROSSTAPE_KAFKA_SASL_USERNAME"
PASSWORD = "CROSSTAPE_KAFKA_SASL_PASSWORD"  # noqa: S105 - the name of a variable


class Tls(Struct, frozen=True):
    """Paths of PEM files. Without `ca_file` the system's authorities are trusted; certificate and key are what we show
    a broker that wants one."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """Verifies the broker's certificate and name. Reads the files; raises ValueError for one of no use."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise ValueError(f"{CA_FILE}: {self.ca_file} is no PEM of authorities: {told_by_openssl(error)}") from error
        # Python 3.13 asks of a certificate what Strimzi's lack: https://github.com/strimzi/strimzi-kafka-operator/issues/11375
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate_file:
            try:
                context.load_cert_chain(self.certificate_file, self.key_file, password=lambda: "")  # or OpenSSL asks us
            except OSError as error:
                raise ValueError(
                    f"{CERTIFICATE_FILE} and {KEY_FILE}: {self.certificate_file} and {self.key_file} are no PEM "
                    f"certificate and its key without a passphrase: {told_by_openssl(error)}"
                ) from error
        return context


class Sasl(Struct, frozen=True):
    """Whom the broker knows us as."""

    mechanism: SaslMechanism
    username: str
    password: SecretStr


def chosen_tls(protocol: SecurityProtocol, ca_file: str, certificate_file: str, key_file: str) -> Tls | None:
    """TLS as the settings want it; None for none. Raises ValueError where they contradict each other."""
    if not protocol.endswith("SSL"):
        given = {CA_FILE: ca_file, CERTIFICATE_FILE: certificate_file, KEY_FILE: key_file}
        _refuse_any(given, f"{PROTOCOL} is {protocol}, which has no TLS: choose SSL or SASL_SSL")
        return None
    if bool(certificate_file) != bool(key_file):
        missing, other = (KEY_FILE, CERTIFICATE_FILE) if certificate_file else (CERTIFICATE_FILE, KEY_FILE)
        raise ValueError(f"{missing} is missing, and {other} is set: a client certificate needs both")
    return Tls(ca_file, certificate_file, key_file)


def chosen_sasl(
    protocol: SecurityProtocol, mechanism: SaslMechanism, username: str, password: SecretStr
) -> Sasl | None:
    """The user of the settings; None for none. Raises ValueError where they contradict each other or lack something."""
    given = {MECHANISM: mechanism, USERNAME: username, PASSWORD: password.get_secret_value()}
    if not protocol.startswith("SASL"):
        _refuse_any(given, f"{PROTOCOL} is {protocol}, which names no user: choose SASL_SSL or SASL_PLAINTEXT")
        return None
    if missing := [variable for variable, value in given.items() if not value]:
        raise ValueError(f"{missing[0]} is missing: {PROTOCOL}={protocol} needs it")
    return Sasl(mechanism, username, password)


def client_options(bootstrap: str, tls: Tls | None, sasl: Sasl | None) -> dict[str, Any]:
    """What each of aiokafka's clients needs to reach the broker. Raises ValueError as Tls.context does."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "security_protocol": f"{'SASL_' if sasl else ''}{'SSL' if tls else 'PLAINTEXT'}",
        "ssl_context": tls.context() if tls else None,
    }
    if sasl:
        options["sasl_mechanism"] = sasl.mechanism
        options["sasl_plain_username"] = sasl.username
        options["sasl_plain_password"] = sasl.password.get_secret_value()
    return options


def _refuse_any(given: Mapping[str, str], reason: str) -> None:
    for variable, value in given.items():
        if value:
            raise ValueError(f"{variable} is set, but {reason}, or unset it")


def told_by_openssl(error: OSError) -> str:
    """Why a file is of no use, or a handshake failed, without OpenSSL's line numbers."""
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or "OpenSSL does not say why").lower().replace("_", " ")
