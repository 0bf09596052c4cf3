"""What compose file and manifests tell a service is what its code reads, and enough for it to start."""

import inspect
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crosstape.common.runtime.settings import BrokerSettings, InternalSettings
from crosstape.common.testing.identity import INTERNAL_SECRET, SIGNING_KEY_SECRET
from crosstape.dashboard import launch
from tests.deploy import code
from tests.deploy.containers import SECRETS_VARIABLE, Container, all_containers, pods
from tests.deploy.tools import OVERLAYS, ROOT
from tests.engines.certificates import Authority

SERVICES = [container for container in all_containers() if container.module]

FILES = tuple(name for name in BrokerSettings.model_fields if name.endswith("_file"))

EXAMPLES = {
    "CROSSTAPE_INTERNAL_SECRET": INTERNAL_SECRET,
    "CROSSTAPE_SIGNING_KEY_SECRET": SIGNING_KEY_SECRET,
    "CROSSTAPE_ADMIN_PASSWORD": "correct horse battery staple",
    "CROSSTAPE_CLICKHOUSE_URL": "http://crosstape:secret@clickhouse:8123/crosstape",
    "CROSSTAPE_AUTH_DATABASE_URL": "postgresql://crosstape:secret@postgres:5432/auth",
    "CROSSTAPE_ORDERS_DATABASE_URL": "postgresql://crosstape:secret@postgres:5432/orders",
    "CROSSTAPE_REDIS_URL": "redis://:secret@valkey:6379/0",
    "CROSSTAPE_KAFKA_SASL_PASSWORD": "secret",
}
"""What the secrets' files could hold."""


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_service_reads_every_variable_it_is_given(container: Container) -> None:
    read = code.variables(container.module)
    assert set(container.own) - {SECRETS_VARIABLE} <= read
    assert container.secrets <= read


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_shared_variable_is_read_by_somebody(overlay: str) -> None:
    services = [container for container in pods(overlay) if container.module]
    shared = {variable for container in services for variable in container.shared}
    assert shared <= frozenset().union(*(code.variables(container.module) for container in services))


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_service_finds_its_settings_complete_and_right(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _read(container, tmp_path, monkeypatch)
    required = {name for name, field in type(settings).model_fields.items() if field.is_required()}
    assert required <= settings.model_fields_set
    assert container.own[SECRETS_VARIABLE] == container.secrets_folder
    assert settings.host == "0.0.0.0"
    assert settings.port > 0, "probes and neighbours must know the port"


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_sockets_are_closed_before_the_drain_ends(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _read(container, tmp_path, monkeypatch)
    assert getattr(settings, "drain_seconds", 0) < settings.shutdown_seconds


def _read(container: Container, folder: Path, monkeypatch: pytest.MonkeyPatch) -> InternalSettings:
    """The settings as the container's process reads them."""
    for variable in container.secrets:
        (folder / variable).write_text(f"{EXAMPLES[variable]}\n")
    for variable in code.variables(container.module):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in container.environment.items():
        monkeypatch.setenv(variable, str(Authority(folder).file) if value in container.files else value)
    return code.settings_class(container.module)(_secrets_dir=str(folder))


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_nothing_that_holds_a_password_is_a_variable(container: Container) -> None:
    assert not [value for value in container.environment.values() if urlsplit(value).password]
    assert not {name for name in container.environment if name.endswith(("_SECRET", "_PASSWORD", "_CREDENTIALS"))}


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_files_that_variables_name_are_there(container: Container) -> None:
    """Every file that is named is a PEM of the broker's; every one that is mounted is named."""
    named = {container.environment.get(f"CROSSTAPE_{name.upper()}", "") for name in FILES} - {""}
    assert named == container.files.keys()


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_no_store_is_left_to_the_default_of_one_machine(container: Container) -> None:
    """sqlite:////var/lib/... would start, and forget everything with its container."""
    stores = ("DATABASE_URL", "CLICKHOUSE_URL", "REDIS_URL")
    assert {name for name in code.variables(container.module) if name.endswith(stores)} <= container.secrets


@pytest.mark.parametrize("where", ["compose", *OVERLAYS])
def test_every_service_runs_and_history_in_both_roles(where: str) -> None:
    services = [container for container in SERVICES if container.where == where]
    assert {container.module for container in services} == code.service_modules()
    roles = {container.own["CROSSTAPE_ROLE"] for container in services if container.module == "crosstape.history"}
    assert roles == {"sink", "api"}


def test_the_protocol_tells_how_many_sockets_each_door_takes() -> None:
    text = " ".join((ROOT / "docs/websocket.md").read_text().split())
    gateway = code.settings_class("crosstape.api_gateway").model_fields
    hub = code.settings_class("crosstape.stream_hub").model_fields
    assert f"{hub['sockets_per_account'].default} sockets an account" in text
    assert f"the gateway takes {gateway['sockets_per_address'].default} sockets" in text
    assert f"the hub's own door takes {hub['hub_sockets_per_address'].default} " in text


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_a_hub_that_sees_a_proxy_takes_all_its_sockets_from_one_address(container: Container) -> None:
    if container.module == "crosstape.stream_hub":
        defaults = code.settings_class("crosstape.stream_hub").model_fields
        taken = container.environment.get("CROSSTAPE_SOCKETS", defaults["sockets"].default)
        assert int(container.environment["CROSSTAPE_HUB_SOCKETS_PER_ADDRESS"]) >= int(taken)


@pytest.mark.parametrize("container", SERVICES, ids=str)
def test_addresses_are_those_that_their_services_listen_on(container: Container) -> None:
    neighbours = {other.name: other for other in SERVICES if other.where == container.where}
    told = {name: value for name, value in container.environment.items() if name.endswith("_URL")}
    for name in told.keys() & code.variables(container.module):
        url = urlsplit(told[name])
        listening = neighbours[str(url.hostname)].environment
        ports = {listening["CROSSTAPE_PORT"], listening.get("CROSSTAPE_STREAM_PORT")}
        assert str(url.port) in ports, f"{name}={told[name]}"


@pytest.mark.parametrize(
    "container", [container for container in all_containers() if container.where in OVERLAYS], ids=str
)
def test_declared_ports_are_those_that_are_listened_on(container: Container) -> None:
    if not container.module:
        assert str(container.ports["http"]) == container.options["port"]
        return
    listening = {"http": "CROSSTAPE_PORT", "sockets": "CROSSTAPE_STREAM_PORT"}
    read = code.variables(container.module)
    assert container.ports == {
        name: int(container.environment[variable]) for name, variable in listening.items() if variable in read
    }


@pytest.mark.parametrize("container", [each for each in all_containers() if not each.module], ids=str)
def test_dashboard_takes_its_options_and_asks_the_gateway(container: Container) -> None:
    assert container.options.keys() <= inspect.signature(launch.launch).parameters.keys()
    gateway = next(each for each in SERVICES if each.where == container.where and each.name == "api-gateway")
    assert container.options["url"] == f"http://{gateway.name}:{gateway.environment['CROSSTAPE_PORT']}"
    assert container.options["address"] == "0.0.0.0"
