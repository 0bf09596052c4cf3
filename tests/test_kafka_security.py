"""A Kafka that wants TLS, a user or a certificate: records go round through it, and who may not in is told why."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from crosstape.api_gateway.checks import bus_probe
from crosstape.common.bus.connection import BusSettings, wait_for_broker
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.bus.security import Sasl, SaslMechanism, Tls
from crosstape.common.bus.topics import LEDGER, market_key
from crosstape.common.market.ledger import Coverage
from tests.engines import containers
from tests.engines.certificates import Authority
from tests.engines.secured import PASSWORD, USER, SecuredBroker

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(containers.are_wanted(), reason="of the broker of one machine, not of a container"),
]

PATIENCE = 60.0
KEY = market_key("binance", "BTC-USDT")
WRONG = "the wrong password"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """The one broker of all these tests."""
    secured = SecuredBroker(tmp_path_factory.mktemp("secured"))
    try:
        asyncio.run(secured.engine.start())
        yield secured
    finally:
        asyncio.run(secured.engine.end())


@pytest.fixture(autouse=True)
def slow_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is late is told of as none, and asked for again."""
    monkeypatch.setattr("crosstape.common.bus.refusal.ANSWER_MS", 1_000 * PATIENCE)
    monkeypatch.setattr("crosstape.api_gateway.checks.LONGEST_PROBE_SECONDS", PATIENCE)


def user(mechanism: SaslMechanism = "SCRAM-SHA-512", name: str = USER, password: str = PASSWORD) -> Sasl:
    return Sasl(mechanism, name, SecretStr(password))


def bus(broker: SecuredBroker, listener: str, sasl: Sasl | None = None, **changes: Any) -> BusSettings:
    """What each listener wants; `changes` are other settings."""
    tls: Tls | None = Tls(str(broker.authority.file))
    if listener == "MUTUAL":
        own = broker.authority.sign("client")
        tls = Tls(str(broker.authority.file), str(own.certificate), str(own.key))
    elif listener in ("CLEAR", "PLAINTEXT"):
        tls = None
    return BusSettings(**{"bootstrap": broker.bootstrap(listener), "tls": tls, "sasl": sasl, **changes})


async def told(settings: BusSettings) -> str:
    """The one thing that is logged of a broker that cannot be reached."""
    with capture_logs() as logs:
        waiting = asyncio.create_task(wait_for_broker(settings))
        async with asyncio.timeout(PATIENCE):
            while not logs:
                await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting})
    return str(logs[0]["error"])


async def coverage_of(symbol: str, batches: AsyncIterator[list[Any]]) -> Coverage:
    async with asyncio.timeout(PATIENCE):
        async for records in batches:
            for record in records:
                if isinstance(record, Coverage) and record.symbol == symbol:
                    return record
    raise AssertionError


@pytest.mark.parametrize(
    ("listener", "sasl"),
    [
        ("USERS", user("SCRAM-SHA-512")),
        ("USERS", user("SCRAM-SHA-256")),
        ("CLEAR", user("SCRAM-SHA-512")),
        ("MUTUAL", None),
    ],
    ids=["tls-scram-512", "tls-scram-256", "scram-in-the-clear", "mutual-tls"],
)
async def test_a_record_goes_round(broker: SecuredBroker, listener: str, sasl: Sasl | None) -> None:
    settings, symbol = bus(broker, listener, sasl), uuid.uuid4().hex
    sent = Coverage("binance", symbol, 1, 2)
    async with (
        Producer(settings) as producer,
        Consumer(settings, [LEDGER], group=symbol) as consumer,
        Follower(settings, {LEDGER: 60.0}) as follower,
    ):
        await producer.deliver(LEDGER, KEY, sent)
        consumed = (batch.records["ledger"] async for batch in consumer.batches(max_records=1, max_age=0.05))
        followed = ([record.value for record in each.records] async for each in follower.arrivals())
        assert await coverage_of(symbol, consumed) == sent
        assert await coverage_of(symbol, followed) == sent


@pytest.mark.parametrize(
    ("listener", "sasl", "reason"),
    [
        ("USERS", user(password=WRONG), f"does not let {USER} in .*CROSSTAPE_KAFKA_SASL_PASSWORD"),
        ("USERS", user("PLAIN", password=WRONG), f"does not let {USER} in .*CROSSTAPE_KAFKA_SASL_PASSWORD"),
        ("USERS", user(name="nobody"), "does not let nobody in .*CROSSTAPE_KAFKA_SASL_USERNAME"),
        ("CLEAR", user("PLAIN"), "does not offer PLAIN: check CROSSTAPE_KAFKA_SASL_MECHANISM"),
        ("MUTUAL", user(), "asks for no user: CROSSTAPE_KAFKA_SECURITY_PROTOCOL must be SSL"),
        ("PLAINTEXT", user(), "asks for no user: CROSSTAPE_KAFKA_SECURITY_PROTOCOL must be PLAINTEXT"),
    ],
)
async def test_a_user_that_is_not_taken_is_told_what_to_change_and_not_tried_again(
    broker: SecuredBroker, listener: str, sasl: Sasl, reason: str
) -> None:
    with capture_logs() as logs, pytest.raises(BrokerRefused, match=reason) as refused:
        async with asyncio.timeout(PATIENCE):
            await wait_for_broker(bus(broker, listener, sasl))
    assert not logs
    assert broker.bootstrap(listener) in str(refused.value)
    assert sasl.password.get_secret_value() not in str(refused.value)


async def test_a_broker_is_not_spoken_to_whose_certificate_is_another_authoritys_or_anothers(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    wrong = [
        bus(broker, "USERS", user(), tls=Tls(str(other.file))),
        bus(broker, "USERS", user(), tls=Tls()),  # the system's authorities
        bus(broker, "USERS", user(), bootstrap=broker.bootstrap("USERS", "localhost")),
    ]
    for settings in wrong:
        with pytest.raises(BrokerRefused, match=r"is not trusted .*: check CROSSTAPE_KAFKA_SSL_CA_FILE"):
            await wait_for_broker(settings)


async def test_a_client_without_a_certificate_or_with_a_strangers_is_told_so(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "other").sign("client")
    trusted = str(broker.authority.file)
    for tls in (Tls(trusted), Tls(trusted, str(stranger.certificate), str(stranger.key))):
        with pytest.raises(
            BrokerRefused, match=r"does not take our certificate .*CROSSTAPE_KAFKA_SSL_CERTIFICATE_FILE"
        ):
            await wait_for_broker(bus(broker, "MUTUAL", tls=tls))


@pytest.mark.parametrize(("listener", "is_tls"), [("USERS", False), ("CLEAR", False), ("PLAINTEXT", True)])
async def test_who_speaks_another_protocol_than_the_listener_is_asked_whether_it_does(
    broker: SecuredBroker, listener: str, is_tls: bool
) -> None:
    settings = bus(broker, listener, tls=Tls(str(broker.authority.file)) if is_tls else None)
    assert f"does it speak {'SSL' if is_tls else 'PLAINTEXT'} there? (CROSSTAPE_KAFKA_SECURITY_PROTOCOL)" in await told(
        settings
    )


async def test_a_service_with_a_wrong_password_in_its_secrets_says_so_once_and_ends(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    (tmp_path / "CROSSTAPE_KAFKA_SASL_PASSWORD").write_text(f"{WRONG}\n")
    environment = {
        "CROSSTAPE_SECRETS_DIR": str(tmp_path),
        "CROSSTAPE_ORDERS_DATABASE_URL": f"sqlite:///{tmp_path / 'orders.db'}",
        "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap("USERS"),
        "CROSSTAPE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "CROSSTAPE_KAFKA_SSL_CA_FILE": str(broker.authority.file),
        "CROSSTAPE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "CROSSTAPE_KAFKA_SASL_USERNAME": USER,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crosstape.twap_engine"), env=os.environ | environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = errors.decode()
    assert process.returncode == 1, text
    assert text.count("does not let") == text.count("process_failed") == 1, text
    assert "check CROSSTAPE_KAFKA_SASL_USERNAME and CROSSTAPE_KAFKA_SASL_PASSWORD" in text
    assert WRONG not in text
    assert "Traceback" not in text


async def test_the_gateway_sees_it_without_a_user(broker: SecuredBroker) -> None:
    ways = (Tls(str(broker.authority.file)), Tls(), None)
    checks = [await bus_probe(broker.bootstrap("USERS"), tls)() for tls in ways]
    assert [check["bus"].is_up for check in checks] == [True, False, False]


async def test_clients_whose_password_was_changed_meanwhile_end_and_say_why(
    broker: SecuredBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: from here on USER has another password."""
    monkeypatch.setattr("crosstape.common.bus.refusal.ANSWER_MS", 1_000)
    monkeypatch.setattr("crosstape.common.bus.sending.REQUEST_TIMEOUT_MS", 1_000)
    monkeypatch.setattr("crosstape.common.bus.watch.ANSWER_SECONDS", 1.0)
    settings = bus(broker, "USERS", user("PLAIN"))

    async def send(producer: Producer) -> None:
        while True:
            await producer.send(LEDGER, KEY, Coverage("binance", "x", 1, 2))

    async def consume(consumer: Consumer) -> None:
        async for _ in consumer.batches(max_records=1_000, max_age=0.1):
            pass

    async def follow(follower: Follower) -> None:
        async for _ in follower.arrivals():
            pass

    async def use(client: Any, use_it: Any, is_open: asyncio.Event) -> None:
        async with client:
            is_open.set()
            await use_it(client)

    clients: list[tuple[Any, Any]] = [
        (Producer(settings, max_in_flight=100), send),
        (Consumer(settings, [LEDGER], group="g"), consume),
        (Follower(settings, {LEDGER: 0.0}), follow),
    ]
    opened = [asyncio.Event() for _ in clients]
    using = [asyncio.create_task(use(*client, is_open)) for client, is_open in zip(clients, opened, strict=True)]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(is_open.wait() for is_open in opened))
        broker.set_plain_password("another password")
        await broker.engine.restart()
        for ended in await asyncio.gather(*using, return_exceptions=True):
            assert isinstance(ended, BrokerRefused), repr(ended)
            assert f"does not let {USER} in" in str(ended)
