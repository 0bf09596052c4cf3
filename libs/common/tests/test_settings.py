"""Settings from the environment, and the table that documents them."""

import os
from pathlib import Path

import pytest
from pydantic import Field, ValidationError, field_validator

from crosstape.common.bus.connection import BusSettings
from crosstape.common.runtime.settings import (
    BusUserSettings,
    CommaList,
    ServiceSettings,
    comma_list,
    settings_table,
)


class FeedSettings(BusUserSettings):
    port: int = Field(8001, description="port to listen on")
    symbols: CommaList = Field(description="the markets to read")
    origins: CommaList = Field(["a", "b"], description="who may call | or not")
    extra: CommaList = Field(default_factory=list, description="more")
    _split = field_validator("symbols", "origins", "extra", mode="before")(comma_list)


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
    assert "| `CROSSTAPE_LIMIT` |  | none is no limit | other |" in table
    assert "| `CROSSTAPE_ORIGINS` | `a,b` | who may call &#124; or not | feed |" in table
    assert "| `CROSSTAPE_DATA_DIR` | `/data` | where the store is | other |" in table


def test_a_default_that_differs_between_services_is_told_for_each() -> None:
    table = settings_table({"feed": FeedSettings, "other": OtherSettings})
    assert "| `CROSSTAPE_PORT` | `8001` | port to listen on | feed |" in table
    assert "| `CROSSTAPE_PORT` | `0` | port to listen on; 0 takes a free one | other |" in table
