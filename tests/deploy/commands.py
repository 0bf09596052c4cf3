"""What a page tells an operator to type, held to what is deployed."""

import re
import shlex
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.containers import pods
from tests.deploy.tools import ROOT, of_kind

WORKLOADS = {
    "deploy": "Deployment",
    "statefulset": "StatefulSet",
    "hpa": "HorizontalPodAutoscaler",
    "scaledobject": "ScaledObject",
    "servicemonitor": "ServiceMonitor",
}


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of commands."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def words_of(block: str) -> list[list[str]]:
    """The words of each command; a line that ends in a backslash goes on."""
    return [shlex.split(line) for line in block.replace("\\\n", "").splitlines()]


def check_kubectl(words: list[str], verbs: frozenset[str]) -> None:
    """Fails for a verb, resource, pod, label, module, file or address that there is not."""
    assert words[:3] == ["kubectl", "-n", "crosstape"], words
    assert words[3] in verbs
    for flag, value in pairwise(words[3:]):
        kind, _, name = value.partition("/")
        if flag != "-f" and kind in WORKLOADS and name:
            _exists(kind, name)
        if flag in ("hpa", "scaledobject", "servicemonitor") and not value.startswith("-"):
            _exists(flag, value)
        if flag == "-m":
            assert find_spec(value), value
        if flag == "-l":
            assert _labelled(value), value
        if flag == "-f":
            assert (ROOT / value).exists(), value
        if flag == "--bootstrap-server":
            assert value == kafka_address(), f"nothing listens at {value}"
    if words[3] == "exec":
        pod = next(word for word in words[4:] if not word.startswith("-"))
        assert "/" in pod or pod in _pods(), f"no pod is called {pod}"
    if words[3] == "port-forward":
        port = int(words[5].partition(":")[2])
        (container,) = [each for each in pods("prod") if each.name == words[4].removeprefix("deploy/")]
        assert port in container.ports.values(), f"{container.name} does not listen at {port}"


@cache
def kafka_tools() -> list[dict[str, Any]]:
    """The pod with Kafka's commands, and the policies that let it reach Kafka."""
    return list(yaml.safe_load_all((ROOT / "deploy/k8s/kafka-tools.yaml").read_text()))


def kafka_address() -> str:
    """Where Kafka is reached in a cluster."""
    (kafka,) = of_kind("prod", "Kafka")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    return f"{kafka['metadata']['name']}-kafka-bootstrap:{listener['port']}"


def _exists(kind: str, name: str) -> None:
    assert name in {resource["metadata"]["name"] for resource in of_kind("prod", WORKLOADS[kind])}, name


def _labelled(selector: str) -> bool:
    """Whether we give some pod that label; the operators' own are those of our network policies."""
    key, _, value = selector.partition("=")
    given = [
        resource["spec"]["template"]["metadata"]["labels"] for resource in of_kind("prod", "Deployment", "StatefulSet")
    ]
    chosen = [policy["spec"]["podSelector"].get("matchLabels", {}) for policy in of_kind("prod", "NetworkPolicy")]
    return any(labels.get(key) == value for labels in [*given, *chosen])


def _pods() -> set[str]:
    """Pods whose names stay. Kafka's are not among them: Strimzi numbers brokers and controllers together."""
    found = {resource["metadata"]["name"] for resource in kafka_tools() if resource["kind"] == "Pod"}
    for installation in of_kind("prod", "ClickHouseInstallation"):
        for cluster in installation["spec"]["configuration"]["clusters"]:
            host = f"chi-{installation['metadata']['name']}-{cluster['name']}-0"
            found |= {f"{host}-{replica}-0" for replica in range(cluster["layout"]["replicasCount"])}
    return found
