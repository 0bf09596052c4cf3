"""An upgrade as the page tells it, and the way back: who reads what ingestors write is new before them and old last."""

from tests.deploy.commands import blocks, check_kubectl, words_of
from tests.deploy.containers import compose_containers, pods
from tests.deploy.tools import ROOT, of_kind

CLUSTER, COMPOSE, CLUSTER_BACK, COMPOSE_BACK = (
    words_of(block) for block in blocks(ROOT / "docs/how-to/deploy.md", "sh")
)
APPLY = ["kubectl", "apply", "-k", "deploy/k8s/overlays/prod"]


def test_in_a_cluster_all_but_the_ingestors_go_first() -> None:
    first, *waits, last = CLUSTER
    assert (first[:4], last) == (APPLY, APPLY)
    label, _, value = first[first.index("-l") + 1].partition("!=")
    left = {
        each["metadata"]["name"] for each in of_kind("prod", "Deployment") if each["metadata"]["labels"][label] == value
    }
    assert left == {container.name for container in pods("prod") if container.module == "crosstape.ingestor"}
    for words in waits:
        check_kubectl(words, frozenset({"rollout"}))
    assert not left & {words[-1].removeprefix("deploy/") for words in waits}


def test_on_one_host_readers_go_first() -> None:
    first, last = ([word for word in words if not word.startswith("-")] for words in COMPOSE)
    modules = {container.name: container.module for container in compose_containers()}
    assert first[:3] == last == ["docker", "compose", "up"]
    assert {modules[name] for name in first[3:]} == {
        "crosstape.history", "crosstape.stream_hub", "crosstape.twap_engine",
    }  # fmt: skip


def test_back_in_a_cluster_ingestors_go_first_and_nobody_is_left() -> None:
    for words in CLUSTER_BACK:
        check_kubectl(words, frozenset({"rollout"}))
    undone = [words[-1].partition("=")[2] for words in CLUSTER_BACK if "undo" in words]
    assert undone[0] == "ingestor"
    labels = [each["metadata"]["labels"]["app.kubernetes.io/component"] for each in of_kind("prod", "Deployment")]
    assert sorted(undone) == sorted({*labels})


def test_back_on_one_host_ingestors_go_first_and_take_nobody_with_them() -> None:
    first, last = COMPOSE_BACK
    assert "--no-deps" in first
    modules = {container.name: container.module for container in compose_containers()}
    wanted = {name for name, module in modules.items() if module == "crosstape.ingestor"}
    assert {word for word in first[3:] if not word.startswith("-")} == wanted
    assert [word for word in last if not word.startswith("-")] == ["docker", "compose", "up"]
