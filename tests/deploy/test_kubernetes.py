"""The manifests: valid by Kubernetes' own schemas, and held to our rules of what a pod may be and how it ends."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils as validating

from crosstape.common.bus.topics import ALL_TOPICS, TRADES
from crosstape.history.sink.service import GROUP
from tests.deploy import code
from tests.deploy.commands import kafka_tools
from tests.deploy.containers import deployments, pods
from tests.deploy.tools import OVERLAYS, ROOT, compose, of_kind, overlay

KUBERNETES = ("1.34", "1.37")
"""The oldest release that has all that is used (a pause before SIGTERM), and the newest whose schemas there are."""

CUSTOM = frozenset(
    {
        "ClickHouseInstallation", "ClickHouseKeeperInstallation", "Cluster", "ExternalSecret", "Gateway", "HTTPRoute",
        "Kafka", "KafkaNodePool", "KafkaUser", "PrometheusRule", "ScaledObject", "ServiceMonitor",
        "TriggerAuthentication",
    }
)  # fmt: skip
"""Kinds of operators: no package carries their schemas."""

CRDS = "CROSSTAPE_CRDS"


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """kubernetes_validate reads a release's schemas, megabytes of JSON, anew for each resource."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(validating, "schema_contents", cache(validating.schema_contents))
        yield


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("name", OVERLAYS)
def test_resources_are_valid(name: str, release: str) -> None:
    for resource in overlay(name):
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, release, strict=True)


def test_a_misspelled_field_is_noticed() -> None:
    """The gate above can fail."""
    (resource, *_) = of_kind("prod", "Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**resource, "spec": {**resource["spec"], "replica": 1}}, "1.34", strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_custom_resources_are_valid(name: str) -> None:
    if CRDS not in os.environ:
        pytest.skip(
            f"no package carries the operators' schemas: `kubectl get crd -o yaml > crds.yaml`, {CRDS}=crds.yaml"
        )
    schemas = {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for document in yaml.load_all(Path(os.environ[CRDS]).read_text(), yaml.CSafeLoader)
        if document
        for crd in document.get("items", [document])
        for version in crd["spec"]["versions"]
    }
    for resource in of_kind(name, *CUSTOM):
        schema = _closed(schemas[resource["apiVersion"], resource["kind"]])
        schema["properties"]["metadata"] = {}
        jsonschema.validate(resource, schema)


def _closed(schema: Any) -> Any:
    """A structural schema that refuses what it does not name, as a server with --validate=strict does."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {
        key: value for key, value in schema.items() if key not in ("format", "nullable", "pattern")
    }  # RE2 is not Python
    for key in ("items", "additionalProperties"):
        if key in closed:
            closed[key] = _closed(closed[key])
    if "properties" in closed:
        closed["properties"] = {name: _closed(part) for name, part in closed["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    return closed


# --- what a pod of ours is ------------------------------------------------------------------------------------------


def _templates(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Every pod that we describe ourselves, Valkey's included."""
    return [
        (resource["metadata"]["name"], resource["spec"]["template"])
        for resource in of_kind(name, "Deployment", "StatefulSet")
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_meet_the_restricted_standard(name: str) -> None:
    for who, template in _templates(name):
        _check_restricted(who, template["spec"])
    for namespace in of_kind(name, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def _check_restricted(who: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"], who
    assert pod["securityContext"]["runAsUser"] > 0, who
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, who
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), who
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "projected", "secret"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, who
        assert context["readOnlyRootFilesystem"], who
        assert context["capabilities"] == {"drop": ["ALL"]}, who
        assert not [port for port in container.get("ports", ()) if "hostPort" in port], who


def test_kafkas_commands_run_in_a_pod_as_ours_are_and_as_the_user_of_the_services() -> None:
    for resource in kafka_tools():
        kubernetes_validate.validate(resource, KUBERNETES[0], strict=True)
    (pod,) = [resource["spec"] for resource in kafka_tools() if resource["kind"] == "Pod"]
    _check_restricted("kafka-tools", pod)
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["image"] == compose()["services"]["kafka"]["image"]
    (folder,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "kafka"]
    mounted = {
        f"{folder}/{item['path']}": (source["secret"]["name"], item["key"])
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }
    sink = next(container for container in pods("prod") if container.name == "history-sink")
    username = sink.environment["CROSSTAPE_KAFKA_SASL_USERNAME"]
    authority = sink.files[sink.environment["CROSSTAPE_KAFKA_SSL_CA_FILE"]]
    assert sorted(mounted.values()) == sorted([authority, (username, "password")])
    script = container["command"][-1]
    assert f"security.protocol={sink.environment['CROSSTAPE_KAFKA_SECURITY_PROTOCOL']}\n" in script
    assert f"sasl.mechanism={sink.environment['CROSSTAPE_KAFKA_SASL_MECHANISM']}\n" in script
    assert f'username="{username}"' in script
    assert all(path in script for path in mounted)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_have_no_rights_in_the_cluster_and_no_variables_of_its_services(name: str) -> None:
    for who, template in _templates(name):
        assert template["spec"]["automountServiceAccountToken"] is False, who
        assert template["spec"]["enableServiceLinks"] is False, who
    assert not of_kind(name, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


@pytest.mark.parametrize("name", OVERLAYS)
def test_memory_is_bounded_and_processor_asked_for_but_never_throttled(name: str) -> None:
    for who, template in _templates(name):
        for container in template["spec"]["containers"]:
            resources = container["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"}, who
            assert resources["limits"].keys() == {"memory"}, who


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_have_a_version(name: str) -> None:
    images = [container["image"] for _, template in _templates(name) for container in template["spec"]["containers"]]
    images += [
        container["image"]
        for resource in of_kind(name, "ClickHouseInstallation", "ClickHouseKeeperInstallation")
        for template in resource["spec"]["templates"]["podTemplates"]
        for container in template["spec"]["containers"]
    ]
    images += [resource["spec"]["imageName"] for resource in of_kind(name, "Cluster")]
    assert not [image for image in images if image.rpartition(":")[2] in ("", "latest", image)]


@pytest.mark.parametrize("name", OVERLAYS)
def test_engines_are_those_of_the_compose_file(name: str) -> None:
    tags = {service: entry["image"].rpartition(":")[2] for service, entry in compose()["services"].items()}
    (kafka,) = of_kind(name, "Kafka")
    assert kafka["spec"]["kafka"]["version"] == tags["kafka"]
    assert {cluster["spec"]["imageName"].rpartition(":")[2] for cluster in of_kind(name, "Cluster")} == {
        tags["postgres"]
    }
    text = yaml.safe_dump(of_kind(name, "ClickHouseInstallation", "StatefulSet"))
    assert f"clickhouse/clickhouse-server:{tags['clickhouse']}" in text
    assert f"valkey/valkey:{tags['valkey']}" in text


# --- probes, and how a pod ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_ask_paths_that_exist_for_what_they_mean(name: str) -> None:
    services = {container.name: container for container in pods(name) if container.module}
    for deployment in deployments(name):
        who = deployment["metadata"]["name"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {probe["port"] for probe in probes.values()} == {"http"}, who
        if who in services:
            assert {probe["path"] for probe in probes.values()} <= code.operations_paths(), who
            assert probes["livenessProbe"]["path"] == "/livez", "asking dependencies would restart us for their sake"


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_killed_while_it_drains(name: str) -> None:
    hub_drain = 0.0
    for container in pods(name):
        hub_drain = max(hub_drain, float(container.environment.get("CROSSTAPE_DRAIN_SECONDS", 0)))
    services = {container.name: container for container in pods(name)}
    for deployment in deployments(name):
        who = deployment["metadata"]["name"]
        pod = deployment["spec"]["template"]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = float(services[who].environment.get("CROSSTAPE_SHUTDOWN_SECONDS", 0))
        assert pod["terminationGracePeriodSeconds"] > pause + drain, who
        if who in ("stream-hub", "api-gateway"):  # what holds sockets
            assert drain > hub_drain > 0, who


@pytest.mark.parametrize("name", OVERLAYS)
def test_rollouts_never_take_the_last_ready_pod(name: str) -> None:
    for deployment in deployments(name):
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    guarded = [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(name, "PodDisruptionBudget")]
    for deployment in deployments(name):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert len([selector for selector in guarded if selector.items() <= labels]) == 1, deployment["metadata"][
            "name"
        ]


# --- how many -------------------------------------------------------------------------------------------------------


def test_production_has_two_of_everything_on_different_nodes() -> None:
    scaled = {
        resource["spec"]["scaleTargetRef"]["name"]: resource["spec"].get(
            "minReplicas", resource["spec"].get("minReplicaCount")
        )
        for resource in of_kind("prod", "HorizontalPodAutoscaler", "ScaledObject")
    }
    for deployment in deployments("prod"):
        who, spec = deployment["metadata"]["name"], deployment["spec"]
        assert ("replicas" in spec) != (who in scaled), f"{who}: a number that the scaler would fight"
        assert int(scaled.get(who, spec.get("replicas", 0))) >= 2, who
        spread = {rule["topologyKey"]: rule for rule in spec["template"]["spec"]["topologySpreadConstraints"]}
        assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule", who
        assert "topology.kubernetes.io/zone" in spread, who
        assert {rule.get("nodeTaintsPolicy") for rule in spread.values()} == {"Honor"}, (
            "a cordoned node keeps its share"
        )


def test_every_exchange_of_the_compose_file_has_an_ingestor() -> None:
    wanted = {name for name in compose()["services"] if name.startswith("ingestor-")}
    for name in OVERLAYS:
        found = [container for container in pods(name) if container.module == "crosstape.ingestor"]
        assert {container.name for container in found} == wanted
        assert {f"ingestor-{container.own['CROSSTAPE_EXCHANGE']}" for container in found} == wanted


@pytest.mark.parametrize("name", OVERLAYS)
def test_sinks_scale_on_the_lag_of_their_own_group_and_no_further_than_partitions(name: str) -> None:
    (scaler,) = of_kind(name, "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    sink = next(container for container in pods(name) if container.name == scaler["spec"]["scaleTargetRef"]["name"])
    assert sink.own["CROSSTAPE_ROLE"] == "sink"
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["topic"] == TRADES.name
    assert trigger["metadata"]["consumerGroup"] == GROUP
    service, port = sink.environment["CROSSTAPE_KAFKA_BOOTSTRAP"].split(":")
    namespace = scaler["metadata"]["namespace"]
    assert trigger["metadata"]["bootstrapServers"] == f"{service}.{namespace}.svc:{port}", (
        "KEDA has a namespace of its own"
    )
    assert scaler["spec"]["maxReplicaCount"] <= TRADES.partitions


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_scaler_reads_kafka_as_the_sink_does(name: str) -> None:
    (trigger,) = of_kind(name, "ScaledObject")[0]["spec"]["triggers"]
    (authentication,) = of_kind(name, "TriggerAuthentication")
    sink = next(container for container in pods(name) if container.name == "history-sink")
    assert sink.environment["CROSSTAPE_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert trigger["metadata"]["tls"] == "enable"
    mechanism = trigger["metadata"]["sasl"].upper().replace("_", "-").replace("SHA", "SHA-")
    assert mechanism == sink.environment["CROSSTAPE_KAFKA_SASL_MECHANISM"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (username,) = authentication["spec"]["env"]
    assert username["parameter"] == "username"
    assert username["name"] == "CROSSTAPE_KAFKA_SASL_USERNAME"
    secrets = {each["parameter"]: (each["name"], each["key"]) for each in authentication["spec"]["secretTargetRef"]}
    assert secrets == {
        "password": (sink.environment["CROSSTAPE_KAFKA_SASL_USERNAME"], "password"),
        "ca": sink.files[sink.environment["CROSSTAPE_KAFKA_SSL_CA_FILE"]],
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_kafka_offers_what_its_users_are_told_and_knows_them(name: str) -> None:
    (kafka,) = of_kind(name, "Kafka")
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    (user,) = of_kind(name, "KafkaUser")
    cluster = kafka["metadata"]["name"]
    assert "userOperator" in kafka["spec"]["entityOperator"], "who makes the user's Secret"
    assert user["metadata"]["labels"]["strimzi.io/cluster"] == cluster
    assert user["spec"]["authentication"] == listener["authentication"]
    on_the_bus = [container for container in pods(name) if "CROSSTAPE_KAFKA_BOOTSTRAP" in container.environment]
    assert {container.name for container in on_the_bus if not container.name.startswith("ingestor-")} == {
        "history-sink", "stream-hub", "twap-engine", "api-gateway",
    }  # fmt: skip
    for container in on_the_bus:
        told = container.environment
        assert told["CROSSTAPE_KAFKA_BOOTSTRAP"] == f"{cluster}-kafka-bootstrap:{listener['port']}"
        assert told["CROSSTAPE_KAFKA_SECURITY_PROTOCOL"] == ("SASL_SSL" if listener["tls"] else "SASL_PLAINTEXT")
        assert told["CROSSTAPE_KAFKA_SASL_MECHANISM"].lower() == listener["authentication"]["type"]
        assert told["CROSSTAPE_KAFKA_SASL_USERNAME"] == user["metadata"]["name"]
        has_password = "CROSSTAPE_KAFKA_SASL_PASSWORD" in container.secrets
        assert has_password == (container.name != "api-gateway"), "the edge only looks whether Kafka answers"


def test_production_engines_are_replicated() -> None:
    for resource in of_kind("prod", "KafkaNodePool"):
        assert resource["spec"]["replicas"] >= 3
    for resource in of_kind("prod", "Cluster"):
        assert resource["spec"]["instances"] >= 3
        assert resource["spec"]["postgresql"]["synchronous"]["number"] >= 1
    for resource in of_kind("prod", "ClickHouseInstallation", "ClickHouseKeeperInstallation"):
        assert resource["spec"]["configuration"]["clusters"][0]["layout"]["replicasCount"] >= 3


@pytest.mark.parametrize("name", OVERLAYS)
def test_topics_have_as_many_replicas_as_the_brokers_can_give(name: str) -> None:
    brokers = sum(
        pool["spec"]["replicas"] for pool in of_kind(name, "KafkaNodePool") if "broker" in pool["spec"]["roles"]
    )
    (kafka,) = of_kind(name, "Kafka")
    wanted = {int(container.shared["CROSSTAPE_TOPIC_REPLICATION"]) for container in pods(name) if container.module}
    assert wanted == {brokers}
    assert kafka["spec"]["kafka"]["config"]["min.insync.replicas"] <= max(1, brokers - 1)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_brokers_disks_hold_what_is_kept(name: str) -> None:
    """Of a partition at most a segment more than its retention: the one that is written."""
    (kafka,) = of_kind(name, "Kafka")
    (pool,) = [pool for pool in of_kind(name, "KafkaNodePool") if "broker" in pool["spec"]["roles"]]
    (volume,) = pool["spec"]["storage"]["volumes"]
    config = kafka["spec"]["kafka"]["config"]
    kept = (config["log.retention.bytes"] + config["log.segment.bytes"]) * sum(topic.partitions for topic in ALL_TOPICS)
    copies = config["default.replication.factor"] / pool["spec"]["replicas"]
    assert kept * copies <= 0.9 * int(volume["size"].removesuffix("Gi")) * 2**30


@pytest.mark.parametrize("name", OVERLAYS)
def test_history_creates_its_tables_on_the_cluster_that_there_is(name: str) -> None:
    (clickhouse,) = of_kind(name, "ClickHouseInstallation")
    clusters = {cluster["name"] for cluster in clickhouse["spec"]["configuration"]["clusters"]}
    told = {
        container.own["CROSSTAPE_CLICKHOUSE_CLUSTER"]
        for container in pods(name)
        if container.name.startswith("history-")
    }
    assert told == clusters


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_a_sink_told_is_asked_of_the_replica_that_has_it(name: str) -> None:
    """A bar is told once a majority of the replicas has it: one of the others may not answer it yet."""
    asked = {
        (source["secret"]["name"], item["key"])
        for who, template in _templates(name)
        if who.startswith("history-")
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
        if item["path"] == "CROSSTAPE_CLICKHOUSE_URL"
    }
    assert asked == {("clickhouse", "url")}
    (clickhouse,) = of_kind(name, "ClickHouseInstallation")
    (cluster,) = clickhouse["spec"]["configuration"]["clusters"]
    replica = f"chi-{clickhouse['metadata']['name']}-{cluster['name']}-0-0"
    secrets = ROOT / "deploy/k8s/overlays" / ("prod/secrets.yaml" if name == "prod" else "dev/make-secrets.sh")
    assert re.findall(r"http://crosstape:.+@([\w-]+):8123/", secrets.read_text()) == [replica]


# --- what is watched, and by which names ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_service_is_scraped_where_it_answers(name: str) -> None:
    (monitor,) = of_kind(name, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] in code.operations_paths()
    chosen = {rule["key"]: set(rule["values"]) for rule in monitor["spec"]["selector"]["matchExpressions"]}
    scraped = {
        service["metadata"]["name"]
        for service in of_kind(name, "Service")
        if all(service["metadata"]["labels"].get(key) in values for key, values in chosen.items())
        and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    }
    assert scraped == {container.name for container in pods(name) if container.module}


@pytest.mark.parametrize("name", OVERLAYS)
def test_services_select_the_pods_of_their_name(name: str) -> None:
    templates = dict(_templates(name))
    for service in of_kind(name, "Service"):
        template = templates[service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        listening = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= listening
        matching = [
            who
            for who, other in templates.items()
            if service["spec"]["selector"].items() <= other["metadata"]["labels"].items()
        ]
        assert matching == [service["metadata"]["name"]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_secrets_that_are_mounted_come_from_somewhere(name: str) -> None:
    written = {f"{cluster['metadata']['name']}-app" for cluster in of_kind(name, "Cluster")}  # by CloudNativePG
    written |= {user["metadata"]["name"] for user in of_kind(name, "KafkaUser")}  # by Strimzi
    written |= {f"{kafka['metadata']['name']}-cluster-ca-cert" for kafka in of_kind(name, "Kafka")}
    if name == "prod":
        written |= {secret["spec"]["target"]["name"] for secret in of_kind(name, "ExternalSecret")}
    else:
        script = (ROOT / "deploy/k8s/overlays/dev/make-secrets.sh").read_text()
        written |= {line.split()[1] for line in script.splitlines() if line.startswith("put ")}
    volumes = [volume for _, template in _templates(name) for volume in template["spec"]["volumes"]]
    mounted = {source["secret"]["name"] for v in volumes for source in v.get("projected", {}).get("sources", ())}
    mounted |= {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    assert mounted == written
    assert not of_kind(name, "Secret"), "a secret in a repository is none"
