"""A broker whose listeners want TLS, a user or a certificate: the one of the demo with more doors."""

from __future__ import annotations

from pathlib import Path

from crosstape.cli import kafka_node, ports, probe
from crosstape.cli.ports import LOOPBACK
from crosstape.cli.process import Command, Process
from tests.engines.certificates import Authority
from tests.engines.plugin import QUICK, Engine

USER = "crosstape"
PASSWORD = "the right password"
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",  # between brokers, and for the probe
    "USERS": "SASL_SSL",
    "CLEAR": "SASL_PLAINTEXT",  # offers SCRAM-SHA-512 alone
    "MUTUAL": "SSL",  # wants a certificate of the client
}
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";'


class SecuredBroker:
    """`engine` runs it. It knows USER by PASSWORD with each mechanism of USERS."""

    def __init__(self, directory: Path):
        self.authority = Authority(directory / "certificates")
        self._directory = directory
        self._ports = {name: ports.free_port() for name in (*LISTENERS, "CONTROLLER")}
        self._config = directory / "server.properties"
        own = self.authority.sign("broker")
        self._keystore = directory / "keystore.pem"
        self._keystore.write_bytes(own.key.read_bytes() + own.certificate.read_bytes())
        self.set_plain_password(PASSWORD)
        words = [f"{mechanism}=[name={USER},password={PASSWORD}]" for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256")]
        kafka_node.format_storage(self._config, *(word for scram in words for word in ("--add-scram", scram)))
        port = self._ports["PLAINTEXT"]
        command = Command(
            name="kafka",
            argv=kafka_node.java("kafka.Kafka", str(self._config)),
            ready=probe.kafka(LOOPBACK, port),
            environment=QUICK,
            port=port,
            is_isolated=True,
        )
        self.engine = Engine(Process(command, directory / "broker.log"), port)

    def bootstrap(self, listener: str, host: str = LOOPBACK) -> str:
        """The address of one of LISTENERS."""
        return f"{host}:{self._ports[listener]}"

    def set_plain_password(self, password: str) -> None:
        """What USER's password is with PLAIN, from the next start on."""
        port, controller_port = self._ports["PLAINTEXT"], self._ports["CONTROLLER"]
        doors = [f"{name}://{LOOPBACK}:{self._ports[name]}" for name in LISTENERS]
        settings = {
            "listeners": ",".join([*doors, f"CONTROLLER://{LOOPBACK}:{controller_port}"]),
            "advertised.listeners": ",".join(doors),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in {**LISTENERS, "CONTROLLER": "PLAINTEXT"}.items()
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "connection.failed.authentication.delay.ms": 0,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._keystore,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.file,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.clear.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.clear.scram-sha-512.sasl.jaas.config": _SCRAM,
            "listener.name.users.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
            "listener.name.users.scram-sha-512.sasl.jaas.config": _SCRAM,
            "listener.name.users.scram-sha-256.sasl.jaas.config": _SCRAM,
            "listener.name.users.plain.sasl.jaas.config": _PLAIN.format(user=USER, password=password),
        }
        plain = kafka_node.properties(port, controller_port, self._directory / "data")
        secured = "".join(f"{key}={value}\n" for key, value in settings.items())
        self._config.write_text(plain + secured)  # of a key that comes twice, the last one counts
