"""The service as a process, and the operator's commands beside it, over sockets, with a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from crosstape.auth.admin import app
from crosstape.auth.settings import AuthSettings
from crosstape.cli import probe
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, Process
from crosstape.common.errors import Unauthenticated
from crosstape.common.identity.authenticator import Authenticator
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Principal
from crosstape.common.identity.revocations import RevocationFeed, Revocations
from crosstape.common.identity.services import AUTH
from crosstape.common.runtime.settings import read_settings
from crosstape.common.testing.background import working
from crosstape.common.testing.identity import INTERNAL_SECRET, SIGNING_KEY_SECRET
from services.auth.tests.harness import PASSWORD
from services.auth.tests.test_revoking import eventually

TOKENS = InternalTokens("api-gateway", [INTERNAL_SECRET])


class Service:
    """A process of auth, a session to ask it, and its operator."""

    def __init__(self, environment: dict[str, str], directory: Path):
        self.environment = environment
        port = int(environment["CROSSTAPE_PORT"])
        command = Command(
            name="auth",
            argv=(sys.executable, "-m", "crosstape.auth"),
            ready=probe.http(LOOPBACK, port, "/readyz"),
            environment=environment,
            port=port,
        )
        self.process = Process(command, directory / f"auth-{port}.log")
        self.url = f"http://{LOOPBACK}:{port}"
        self.session = aiohttp.ClientSession(self.url)

    async def ask(self, method: str, path: str, body: Any = None, by: Principal | None = None) -> tuple[int, Any]:
        headers = {HEADER: TOKENS.mint(AUTH, Caller("api-gateway", by, "203.0.113.7"))}
        async with self.session.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def login(self, name: str, password: str = PASSWORD) -> tuple[int, Any]:
        return await self.ask("POST", "/login", {"username": name, "password": password})

    def operator(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """One of the operator's commands."""
        everything = {**os.environ, **self.environment}
        return subprocess.run(
            [sys.executable, "-m", "crosstape.auth.admin", *words],
            env={name: value for name, value in everything.items() if name != "CROSSTAPE_INTERNAL_SECRET"},
            input=said,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def environment_of(database_url: str, redis_url: str) -> dict[str, str]:
    return {
        "CROSSTAPE_AUTH_DATABASE_URL": database_url,
        "CROSSTAPE_REDIS_URL": redis_url,
        "CROSSTAPE_INTERNAL_SECRET": INTERNAL_SECRET,
        "CROSSTAPE_SIGNING_KEY_SECRET": SIGNING_KEY_SECRET,
        "CROSSTAPE_ADMIN_PASSWORD": PASSWORD,
        "CROSSTAPE_ARGON2_MEMORY_KIB": "8",
        "CROSSTAPE_ARGON2_PASSES": "1",
        "CROSSTAPE_PORT": str(free_port()),
        "CROSSTAPE_LOG_FORMAT": "json",
    }


@pytest.fixture
async def service(tmp_path: Path, redis_url: str) -> AsyncIterator[Service]:
    running = Service(environment_of(f"sqlite:///{tmp_path / 'auth.db'}", redis_url), tmp_path)
    running.process.start()
    await running.process.wait_ready(60)
    yield running
    await running.session.close()
    await running.process.stop(60)


@pytest.mark.integration
async def test_the_whole_way_of_a_credential_over_sockets(service: Service) -> None:
    redis, known = Redis.from_url(service.environment["CROSSTAPE_REDIS_URL"]), Revocations()
    feed = RevocationFeed(redis, known)
    async with aiohttp.ClientSession() as session:
        door = Authenticator(service.url, session, TOKENS, known)
        async with working(feed.run, door.run):
            await eventually(lambda: feed.is_fresh)
            _, tokens = await service.login("admin")
            admin = await door.authenticate(tokens["access_token"])
            status, made = await service.ask(
                "POST", "/api-keys", {"name": "bot", "scopes": ["market:read", "admin"]}, admin
            )
            assert status == 201
            key = made["api_key"]
            by_key = await door.authenticate(key)
            assert (by_key.username, by_key.api_key_id) == ("admin", made["id"])

            async def is_noted() -> bool:
                return (await service.ask("GET", "/api-keys", by=admin))[1][0]["last_used_at"] is not None

            await eventually(is_noted)
            with pytest.raises(Unauthenticated):
                await door.authenticate(key[:-1])

            new = "a new phrase of it"
            changed = await asyncio.to_thread(service.operator, "users", "password", "admin", said=f"{new}\n")
            assert (changed.returncode, changed.stdout) == (0, "admin has a new password\n"), changed.stderr
            await eventually(lambda: known.has_revoked(admin))
            with pytest.raises(Unauthenticated):
                await door.authenticate(tokens["access_token"])
            again = await door.authenticate(key)
            assert again.credentials_version == by_key.credentials_version + 1

            assert (await service.login("admin"))[0] == 401
            _, tokens = await service.login("admin", new)
            admin = await door.authenticate(tokens["access_token"])
            assert (await service.ask("DELETE", f"/api-keys/{made['id']}", by=admin))[0] == 200
            await eventually(lambda: known.has_revoked(again))
            with pytest.raises(Unauthenticated):
                await door.authenticate(key)
    await redis.aclose()


@pytest.fixture
def here(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[str]]:
    """One of the operator's commands, in this process: every other takes a second to begin."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("crosstape.auth.admin.configure_logging", lambda *_, **__: None)

    async def command(*words: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert done.exit_code == 0, done.output
        return done.stdout

    return command


@pytest.mark.integration
async def test_an_operator_manages_accounts_and_keys_beside_the_running_service(
    service: Service, here: Callable[..., Awaitable[str]]
) -> None:
    add = ("users", "add", "carol", "--role", "quant")
    added = await asyncio.to_thread(service.operator, *add, said=f"{PASSWORD}\n")
    assert (added.returncode, added.stdout) == (0, "carol is a quant now\n"), added.stderr
    assert (await service.login("carol"))[0] == 200
    await here("users", "role", "carol", "user")
    listed = [line.split("\t")[:2] for line in (await here("users", "list")).splitlines()]
    assert listed == [["admin", "admin"], ["carol", "user"]]
    last = await asyncio.to_thread(service.operator, "users", "remove", "admin")
    assert (last.returncode, last.stderr) == (1, "error: This is the last admin: make another account one first.\n")
    await here("keys", "rotate")
    old, new = (await here("keys", "list")).splitlines()
    assert "retires" in old
    assert "retires" not in new
    told = [line.split("\t")[1:3] for line in (await here("audit")).splitlines()]
    assert told == [
        ["registered", "admin"],
        ["registered", "carol"],
        ["login", "carol"],
        ["role_changed", "carol"],
        ["signing_key_rotated", "-"],
    ]


@pytest.mark.integration
async def test_it_is_ready_when_it_can_serve_and_ends_when_told(service: Service) -> None:
    async with service.session.get("/readyz") as answer:
        checks = (await answer.json())["checks"]
    assert checks["database"]["status"] == "up"
    async with service.session.get("/metrics") as answer:
        assert "crosstape_auth_events_total" in await answer.text()
    assert await service.process.stop(60)
    assert service.process.exit_code == 0
    lines = [json.loads(line) for line in service.process.log.read_text().splitlines()]
    assert [line["event"] for line in lines if line["level"] != "info"] == []
    assert PASSWORD not in service.process.log.read_text()


@pytest.mark.integration
async def test_a_secret_that_opens_no_signing_key_ends_it_with_one_line_that_says_what_to_do(service: Service) -> None:
    await service.process.stop(60)
    other = Service({**service.environment, "CROSSTAPE_SIGNING_KEY_SECRET": "x" * 32}, service.process.log.parent)
    other.process.start()
    assert await other.process.wait_exit() == 1
    lines = [json.loads(line) for line in other.process.log.read_text().splitlines()]
    (failure,) = [line for line in lines if line["level"] != "info"]
    assert (failure["event"], failure["level"]) == ("process_failed", "error")
    rotation = other.operator("keys", "rotate")
    assert (rotation.returncode, rotation.stdout) == (1, "")
    for told in (failure["reason"], rotation.stderr):
        assert "CROSSTAPE_SIGNING_KEY_SECRET" in told
        assert "docs/how-to/restore.md" in told
    assert "x" * 32 not in other.process.log.read_text() + rotation.stderr
    await other.session.close()


def test_without_a_secret_for_signing_keys_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CROSSTAPE_SIGNING_KEY_SECRET", raising=False)
    with pytest.raises(SystemExit) as ended:
        read_settings(AuthSettings)
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: CROSSTAPE_SIGNING_KEY_SECRET: Field required\n")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSTAPE_ADMIN_PASSWORD", "admin"),
        ("CROSSTAPE_ADMIN_PASSWORD", "password1"),
        ("CROSSTAPE_INTERNAL_SECRET", "short"),
        ("CROSSTAPE_SIGNING_KEY_SECRET", "short"),
        ("CROSSTAPE_SIGNING_KEY_SECRET", f"{'x' * 32},short"),
        ("CROSSTAPE_AUTH_DATABASE_URL", "mysql://db/auth"),
    ],
)
def test_a_weak_setting_ends_the_start_and_is_named_but_not_repeated(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSTAPE_SIGNING_KEY_SECRET", SIGNING_KEY_SECRET)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        read_settings(AuthSettings)
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: {variable}: ")
    assert complaint.count("\n") == 1
    assert value not in complaint.removeprefix(f"error: {variable}: ").replace("password: ", "")
