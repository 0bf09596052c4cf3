"""How the broker is spoken to, from the environment: complete and without contradiction, or one line that says why."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.security import Sasl, Tls
from crosstape.common.runtime.settings import BusUserSettings, read_settings
from tests.engines.certificates import Authority, Signed

PASSWORD = "correct horse battery staple"
USER = {"SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "crosstape", "SASL_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    return authority.sign("client")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CROSSTAPE_")]:
        monkeypatch.delenv(name)


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"CROSSTAPE_KAFKA_{name}", value)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that read_settings ends the process with."""
    with pytest.raises(SystemExit) as ended:
        read_settings(BusUserSettings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert PASSWORD not in line
    return line


def test_without_a_word_the_broker_is_spoken_to_in_the_clear_as_nobody() -> None:
    bus = BusUserSettings().bus
    assert bus == BusSettings("127.0.0.1:9092")
    assert bus.client_options() == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


def test_variables_that_are_empty_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, **dict.fromkeys([*USER, "SSL_CA_FILE", "SSL_CERTIFICATE_FILE", "SSL_KEY_FILE"], ""))
    assert BusUserSettings().bus == BusSettings("127.0.0.1:9092")


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT", "SSL"])
def test_each_protocol_becomes_what_the_clients_need(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, protocol: str
) -> None:
    has_tls, has_user = protocol.endswith("SSL"), protocol.startswith("SASL")
    environment(monkeypatch, SECURITY_PROTOCOL=protocol, **(USER if has_user else {}))
    if has_tls:
        environment(monkeypatch, SSL_CA_FILE=str(authority.file))
    options = BusUserSettings().bus.client_options()
    assert options["security_protocol"] == protocol
    assert (options["ssl_context"] is not None) == has_tls
    user = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "crosstape", "sasl_plain_password": PASSWORD}
    assert {name: value for name, value in options.items() if name.startswith("sasl")} == (user if has_user else {})


def test_brokers_are_verified_by_the_systems_authorities_or_those_of_the_file_alone(authority: Authority) -> None:
    ours = Tls(str(authority.file)).context()
    assert [each["subject"] for each in ours.get_ca_certs()] == [((("commonName", "authority"),),)]
    assert Tls().context().cert_store_stats() != ours.cert_store_stats()
    assert ours.check_hostname


def test_the_password_comes_from_a_file_and_is_in_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, SECURITY_PROTOCOL="SASL_PLAINTEXT", SASL_MECHANISM="PLAIN", SASL_USERNAME="crosstape")
    (tmp_path / "CROSSTAPE_KAFKA_SASL_PASSWORD").write_text(f"{PASSWORD}\n")
    settings = BusUserSettings(_secrets_dir=str(tmp_path))
    assert settings.bus.sasl == Sasl("PLAIN", "crosstape", SecretStr(PASSWORD))
    assert PASSWORD not in f"{settings!r} {settings.bus!r} {settings.bus}"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "CROSSTAPE_KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT', 'SSL', "),
        ({"SASL_MECHANISM": "GSSAPI"}, "CROSSTAPE_KAFKA_SASL_MECHANISM: Input should be '', 'PLAIN', "),
        (
            {"SSL_CA_FILE": "/ca.pem"},
            "CROSSTAPE_KAFKA_SSL_CA_FILE is set, but CROSSTAPE_KAFKA_SECURITY_PROTOCOL is PLAINTEXT, which has no TLS",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", **USER, "SSL_KEY_FILE": "/key.pem"},
            "CROSSTAPE_KAFKA_SSL_KEY_FILE is set, but CROSSTAPE_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT, which has",
        ),
        (
            {"SASL_PASSWORD": PASSWORD},
            "CROSSTAPE_KAFKA_SASL_PASSWORD is set, but CROSSTAPE_KAFKA_SECURITY_PROTOCOL is PLAINTEXT, which names",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", **USER},
            "CROSSTAPE_KAFKA_SASL_MECHANISM is set, but CROSSTAPE_KAFKA_SECURITY_PROTOCOL is SSL, which names no user",
        ),
        *(
            (
                {"SECURITY_PROTOCOL": "SASL_SSL", **{name: value for name, value in USER.items() if name != missing}},
                f"CROSSTAPE_KAFKA_{missing} is missing: CROSSTAPE_KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it",
            )
            for missing in USER
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CERTIFICATE_FILE": "/certificate.pem"},
            "CROSSTAPE_KAFKA_SSL_KEY_FILE is missing, and CROSSTAPE_KAFKA_SSL_CERTIFICATE_FILE is set: a client",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "/key.pem"},
            "CROSSTAPE_KAFKA_SSL_CERTIFICATE_FILE is missing, and CROSSTAPE_KAFKA_SSL_KEY_FILE is set: a client",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/nowhere/ca.pem"},
            "CROSSTAPE_KAFKA_SSL_CA_FILE: /nowhere/ca.pem is no PEM of authorities: no such file or directory",
        ),
    ],
)
def test_what_is_missing_or_contradicts_itself_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], line: str
) -> None:
    environment(monkeypatch, **variables)
    assert refusal(capsys).startswith(f"error: {line}")


def test_what_contradicts_the_protocol_names_the_protocols_that_it_goes_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, SSL_CA_FILE="/ca.pem")
    assert refusal(capsys).endswith(": choose SSL or SASL_SSL, or unset it")
    environment(monkeypatch, SSL_CA_FILE="", SASL_PASSWORD=PASSWORD)
    assert refusal(capsys).endswith(": choose SASL_SSL or SASL_PLAINTEXT, or unset it")


def test_a_file_without_a_certificate_is_none_of_authorities(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signed: Signed
) -> None:
    environment(monkeypatch, SECURITY_PROTOCOL="SSL", SSL_CA_FILE=str(signed.key))
    assert f"{signed.key} is no PEM of authorities" in refusal(capsys)


def test_a_key_must_be_that_of_its_certificate_and_have_no_passphrase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], authority: Authority, signed: Signed
) -> None:
    environment(monkeypatch, SECURITY_PROTOCOL="SSL", SSL_CERTIFICATE_FILE=str(signed.certificate))
    others, encrypted = authority.sign("other"), authority.sign("encrypted", PASSWORD)
    for certificate, key in ((signed.certificate, others.key), (encrypted.certificate, encrypted.key)):
        environment(monkeypatch, SSL_CERTIFICATE_FILE=str(certificate), SSL_KEY_FILE=str(key))
        assert "are no PEM certificate and its key without a passphrase: " in refusal(capsys)
    environment(monkeypatch, SSL_CERTIFICATE_FILE=str(signed.certificate), SSL_KEY_FILE=str(signed.key))
    assert BusUserSettings().bus.tls == Tls("", str(signed.certificate), str(signed.key))
