"""Settings from the environment, and the table that documents them."""

import os
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from crosstape.common.bus.connection import BusSettings
from crosstape.common.redis_url import RedisUrl
from crosstape.common.runtime.settings import (
    BusUserSettings,
    CommaList,
    OptionalOrigin,
    Origin,
    PageOrigins,
    ServiceSettings,
    read_settings,
    settings_table,
)


class FeedSettings(BusUserSettings):
    port: int = Field(8001, description="port to listen on")
    symbols: CommaList = Field(description="the markets to read")
    origins: CommaList = Field(["a", "b"], description="who may call | or not")
    extra: CommaList = Field(default_factory=list, description="more")
    fees: dict[str, int] = Field({}, description="of each")


class OtherSettings(ServiceSettings):
    data_dir: Path = Field(Path("/data"), description="where the store is")
    limit: int | None = Field(None, description="none is no limit")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CROSSTAPE_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ("", []),
        (",", []),
        ("BTC/USDT:USDT,x", ["BTC/USDT:USDT", "x"]),
    ],
)
def test_a_list_is_written_with_commas(monkeypatch: pytest.MonkeyPatch, text: str, values: list[str]) -> None:
    monkeypatch.setenv("CROSSTAPE_SYMBOLS", text)
    assert FeedSettings().symbols == values
    assert FeedSettings(symbols=["x,y"]).symbols == ["x,y"]


def test_the_bus_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTAPE_KAFKA_BOOTSTRAP", "a:1,b:2")
    assert BusUserSettings().bus == BusSettings("a:1,b:2", 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_LEVEL", "LOUD"), ("LOG_FORMAT", "xml"), ("PORT", "65536"), ("PORT", "-1"), ("SHUTDOWN_SECONDS", "0")],
)
def test_a_setting_that_makes_no_sense_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CROSSTAPE_{name}", value)
    with pytest.raises(ValidationError):
        ServiceSettings()


def test_the_level_of_logs_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTAPE_LOG_LEVEL", "debug")
    assert ServiceSettings().log_level == "debug"


def test_every_setting_has_a_description_and_a_line_in_the_table() -> None:
    services: dict[str, type[ServiceSettings]] = {"feed": FeedSettings, "other": OtherSettings}
    table = settings_table(services)
    for settings in services.values():
        for name, field in settings.model_fields.items():
            assert field.description
            assert f"| `CROSSTAPE_{name.upper()}` |" in table
    assert "| `CROSSTAPE_HOST` | `127.0.0.1` | address to listen on | feed, other |" in table
    assert "| `CROSSTAPE_SYMBOLS` | required | the markets to read | feed |" in table
    assert "| `CROSSTAPE_EXTRA` |  | more | feed |" in table
    assert "| `CROSSTAPE_SECRETS_DIR` |  | folder of files" in table
    assert "| `CROSSTAPE_FEES` |  | of each | feed |" in table
    assert "| `CROSSTAPE_LIMIT` |  | none is no limit | other |" in table
    assert "| `CROSSTAPE_ORIGINS` | `a,b` | who may call &#124; or not | feed |" in table
    assert "| `CROSSTAPE_DATA_DIR` | `/data` | where the store is | other |" in table


def test_a_default_that_differs_between_services_is_told_for_each() -> None:
    table = settings_table({"feed": FeedSettings, "other": OtherSettings})
    assert "| `CROSSTAPE_PORT` | `8001` | port to listen on | feed |" in table
    assert "| `CROSSTAPE_PORT` | `0` | port to listen on; 0 takes a free one | other |" in table


class AskingSettings(ServiceSettings):
    history_url: Origin = Field("http://127.0.0.1:8101", description="where history is")
    exchange_origin: OptionalOrigin = Field("", description="where the simulator is")
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="where Redis is")
    cors_origins: PageOrigins = Field([], description="whose pages may ask")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://history-api:8000", "http://history-api:8000"),
        ("http://history-api:8000/", "http://history-api:8000"),
        ("https://history", "https://history"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_an_origin_has_no_slash_at_its_end(monkeypatch: pytest.MonkeyPatch, text: str, origin: str) -> None:
    for name in ("HISTORY_URL", "EXCHANGE_ORIGIN"):
        monkeypatch.setenv(f"CROSSTAPE_{name}", text)
    settings = AskingSettings()
    assert (settings.history_url, settings.exchange_origin) == (origin, origin)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HISTORY_URL", "history:8000"),
        ("HISTORY_URL", "history-api"),
        ("HISTORY_URL", ""),
        ("HISTORY_URL", "ftp://history"),
        ("HISTORY_URL", "http://history/api"),
        ("HISTORY_URL", "http://history?x=1"),
        ("HISTORY_URL", "http://user:word@history"),
        ("HISTORY_URL", "http://:8000"),
        ("HISTORY_URL", "http://a:b:c"),
        ("HISTORY_URL", "http://a:65536"),
        ("HISTORY_URL", "http://a:0"),
        ("CORS_ORIGINS", "app.example"),
        ("CORS_ORIGINS", "https://app.example,https://app.example/desk"),
        ("CORS_ORIGINS", "https://*.example"),
        ("EXCHANGE_ORIGIN", "localhost:9200"),
        ("REDIS_URL", "valkey:6379"),
        ("REDIS_URL", "unix:///run/redis"),
        ("REDIS_URL", "redis://valkey?ssl_ca_certs=/ca.pem"),
        ("REDIS_URL", "rediss://valkey?ssl_ca_cert=/ca.pem"),
        ("REDIS_URL", "rediss://valkey?ssl_cert_reqs=some"),
        ("REDIS_URL", "rediss://valkey?ssl_ca_certs=/no/such/file.pem"),
        ("REDIS_URL", "redis://valkey?db=x"),
    ],
)
def test_a_place_that_cannot_be_asked_ends_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"CROSSTAPE_{name}", value)
    with pytest.raises(SystemExit) as ended:
        read_settings(AskingSettings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: CROSSTAPE_{name}: ")


@pytest.mark.parametrize("options", ["max_connections=5", "socket_timeout=2.5&health_check_interval=10"])
def test_whatever_the_client_of_redis_takes_may_stand_in_its_url(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    monkeypatch.setenv("CROSSTAPE_REDIS_URL", f"redis://valkey:6379/0?{options}")
    assert AskingSettings().redis_url.endswith(options)


def test_pages_are_written_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTAPE_CORS_ORIGINS", "https://App.example/, http://localhost:3000, tauri://localhost,*")
    assert AskingSettings().cors_origins == [
        "https://app.example",
        "http://localhost:3000",
        "tauri://localhost",
        "*",
    ]


def test_an_optional_origin_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTAPE_EXCHANGE_ORIGIN", "")
    assert AskingSettings().exchange_origin == ""
