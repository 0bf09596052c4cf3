"""Each runbook is whole, and what it tells an operator to type, to look for and to set exists."""

import functools
import re
import shlex
from pathlib import Path

import pytest

from crosstape.api_gateway.routes import ROUTES
from crosstape.twap_engine.order import Shortfall
from tests.deploy import code
from tests.deploy.commands import blocks, check_kubectl
from tests.deploy.tools import ROOT, compose, of_kind

FOLDER = ROOT / "docs/runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
COMMANDS = [(path, line) for path in PAGES for block in blocks(path, "sh") for line in block.splitlines()]
VERBS = frozenset({"logs", "get", "describe", "exec", "rollout", "scale", "set", "top", "port-forward"})


def test_there_is_a_page_for_each_alert_and_none_beside() -> None:
    alerts = re.findall(r"runbook: docs/runbooks/(\S+)", (ROOT / "deploy/prometheus/alerts.yml").read_text())
    assert sorted(alerts) == [path.name for path in PAGES]
    index = (FOLDER / "README.md").read_text()
    assert sorted(re.findall(r"\]\(([\w-]+\.md)\)", index)) == sorted(alerts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_says_what_it_means_how_to_see_it_and_what_to_do(path: Path) -> None:
    text = path.read_text()
    title, meaning = text.split("\n", 2)[0::2]
    assert title.removeprefix("# ").lower() == path.stem.replace("-", "")
    assert meaning.strip()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["How to see it", "What to do"]
    assert "\n1. " in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / link).exists(), link


@functools.cache
def _source() -> str:
    return "".join(file.read_text() for file in ROOT.glob("[ls]*s/*/src/**/*.py"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_settings_log_events_and_series_exist(path: Path) -> None:
    text = path.read_text()
    variables = frozenset().union(*(code.variables(module) for module in code.service_modules()))
    assert set(re.findall(r"CROSSTAPE_[A-Z_]*[A-Z]", text)) - {"CROSSTAPE_X"} <= variables | {"CROSSTAPE_"}
    for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text):
        assert f'"{word}"' in _source() or word in code.metrics(), f"nothing logs or exposes {word}"


@pytest.mark.parametrize(
    ("path", "line"), COMMANDS, ids=lambda value: value.stem if isinstance(value, Path) else value[:40]
)
def test_command_names_what_exists(path: Path, line: str) -> None:
    words = shlex.split(line.removesuffix(" &"))
    if words[0] == "curl":
        (url,) = [word for word in words if word.startswith("http://127.0.0.1:8000/")]
        asked = "/" + url.split("/", 3)[3].partition("?")[0]
        assert asked == "/health/ready" or any(code.fits(route.pattern, asked) for route in ROUTES), asked
        return
    check_kubectl(words, VERBS)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("exec tape-broker-0 -- bin/kafka-get-offsets.sh --topic dead-letters", "tape-broker-0"),
        ("exec kafka-tools -- bin/kafka-get-offsets.sh --bootstrap-server localhost:9092", "localhost:9092"),
        ("port-forward deploy/api-gateway 8000:9092", "9092"),
        ("logs deploy/history", "history"),
        ("get pods -l app.kubernetes.io/name=history", "history"),
    ],
)
def test_a_command_that_names_what_there_is_not_is_noticed(command: str, what: str) -> None:
    """The check above can fail."""
    with pytest.raises(AssertionError, match=what):
        check_kubectl(["kubectl", "-n", "crosstape", *command.split()], VERBS)


def test_slices_short_says_what_to_do_about_every_reason_that_there_is() -> None:
    to_do = (FOLDER / "slices-short.md").read_text().partition("## What to do")[2]
    reasons = [name for names in re.findall(r"^\d+\. (.+?): ", to_do, re.MULTILINE) for name in names.split(", ")]
    assert sorted(reasons) == sorted(f"`{reason}`" for reason in Shortfall)


def test_a_lost_node_of_what_has_one_replica_is_told_of() -> None:
    """Kubernetes starts no second pod of a StatefulSet while it cannot know that the first has ended."""
    alone = [each["metadata"]["name"] for each in of_kind("prod", "StatefulSet") if each["spec"]["replicas"] == 1]
    assert alone
    for name in alone:
        pages = [path.read_text() for path in PAGES if f"statefulset/{name}" in path.read_text()]
        assert any("node.kubernetes.io/out-of-service" in page for page in pages), name


def test_what_the_index_says_of_compose_is_so() -> None:
    for service in re.findall(
        r"`docker compose (?:logs --since 10m|restart|exec|config) (\S+?)(?: COMMAND)?`",
        (FOLDER / "README.md").read_text(),
    ):
        assert service in compose()["services"]
