"""Who may reach whom: nobody but those who are told an address, and the Gateway."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from crosstape.api_gateway.routes import ROUTES
from crosstape.exchanges import DIALECTS
from tests.deploy import code
from tests.deploy.commands import kafka_tools
from tests.deploy.containers import deployments, pods
from tests.deploy.tools import OVERLAYS, of_kind

Labels = dict[str, str]

ENGINES: dict[str, tuple[Labels, int]] = {
    "CROSSTAPE_KAFKA_BOOTSTRAP": ({"strimzi.io/cluster": "tape", "strimzi.io/broker-role": "true"}, 9093),
    "CROSSTAPE_CLICKHOUSE_URL": ({"clickhouse.altinity.com/chi": "tape"}, 8123),
    "CROSSTAPE_AUTH_DATABASE_URL": ({"cnpg.io/cluster": "auth-db"}, 5432),
    "CROSSTAPE_ORDERS_DATABASE_URL": ({"cnpg.io/cluster": "orders-db"}, 5432),
    "CROSSTAPE_REDIS_URL": ({"app.kubernetes.io/name": "valkey"}, 6379),
}
"""The engine behind a variable: the labels that its operator gives its pods, and its port."""


def _selects(selector: dict[str, Any], labels: Labels) -> bool:
    expressions = selector.get("matchExpressions", ())
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in expressions
    )


def _allows(policies: list[dict[str, Any]], way: str, one: Labels, other: Labels, port: int) -> bool:
    """Whether some policy of the pod `one` lets traffic to (egress) or from (ingress) the pod `other` pass."""
    peers = {"egress": "to", "ingress": "from"}[way]
    return any(
        _selects(peer["podSelector"], other)
        for policy in policies
        if _selects(policy["spec"]["podSelector"], one)
        for rule in policy["spec"].get(way, ())
        if port in {entry["port"] for entry in rule["ports"]}
        for peer in rule[peers]
        if "podSelector" in peer and "namespaceSelector" not in peer
    )


def _labels(name: str) -> dict[str, Labels]:
    return {
        resource["metadata"]["name"]: resource["spec"]["template"]["metadata"]["labels"]
        for resource in deployments(name)
    }


def _needed(name: str) -> set[tuple[str, str, int]]:
    """(from, to, port) of everything that a container is told and reads; engines by their variable."""
    needed: set[tuple[str, str, int]] = set()
    for container in pods(name):
        read = code.variables(container.module) if container.module else frozenset[str]()
        for variable, value in container.environment.items():
            if variable.endswith("_URL") and variable in read:
                url = urlsplit(value)
                needed.add((container.name, str(url.hostname), int(url.port or 80)))
        for variable in (container.secrets | container.environment.keys()) & ENGINES.keys() & read:
            needed.add((container.name, variable, ENGINES[variable][1]))
    return needed


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_that_is_not_allowed_is_denied(name: str) -> None:
    denied = [policy for policy in of_kind(name, "NetworkPolicy") if policy["metadata"]["name"] == "default-deny"]
    assert [policy["spec"] for policy in denied] == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]


@pytest.mark.parametrize("name", OVERLAYS)
def test_everybody_reaches_what_it_is_told(name: str) -> None:
    policies, labels = of_kind(name, "NetworkPolicy"), _labels(name)
    needed = _needed(name) | {("dashboard", "api-gateway", 8000)}
    assert len(needed) > 20
    for source, target, port in needed:
        there = ENGINES[target][0] if target in ENGINES else labels[target]
        assert _allows(policies, "egress", labels[source], there, port), f"{source} may not go to {target}:{port}"
        assert _allows(policies, "ingress", there, labels[source], port), f"{target}:{port} takes nothing of {source}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_nobody_of_ours_reaches_anything_else(name: str) -> None:
    policies, labels = of_kind(name, "NetworkPolicy"), _labels(name)
    needed = {(source, target) for source, target, _ in _needed(name)} | {("dashboard", "api-gateway")}
    everything = {**labels, **{variable: there for variable, (there, _) in ENGINES.items()}}
    ports = {8000, 8001, *(port for _, port in ENGINES.values())}
    for source, target in {(source, target) for source in labels for target in everything} - needed:
        for port in ports:
            passes = _allows(policies, "egress", labels[source], everything[target], port) and _allows(
                policies, "ingress", everything[target], labels[source], port
            )
            assert not passes, f"{source} needs no {target}:{port}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_kafkas_commands_reach_kafka_while_they_are_there(name: str) -> None:
    (tools,) = [resource["metadata"]["labels"] for resource in kafka_tools() if resource["kind"] == "Pod"]
    kafka, port = ENGINES["CROSSTAPE_KAFKA_BOOTSTRAP"]
    always = of_kind(name, "NetworkPolicy")
    besides = [resource for resource in kafka_tools() if resource["kind"] == "NetworkPolicy"]
    for way, one, other in (("egress", tools, kafka), ("ingress", kafka, tools)):
        assert not _allows(always, way, one, other, port)
        assert _allows(besides, way, one, other, port)


@pytest.mark.parametrize("name", OVERLAYS)
def test_strimzis_own_policy_admits_nobody_whom_ours_does_not(name: str) -> None:
    """Policies add up, and Strimzi writes one for each listener: for everybody where the listener names no peers."""
    (kafka,) = of_kind(name, "Kafka")
    (policy,) = [policy for policy in of_kind(name, "NetworkPolicy") if policy["metadata"]["name"] == "kafka"]
    for listener in kafka["spec"]["kafka"]["listeners"]:
        (ours,) = [
            rule["from"]
            for rule in policy["spec"]["ingress"]
            if listener["port"] in {entry["port"] for entry in rule["ports"]}
        ]
        assert listener.get("networkPolicyPeers") == ours


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_those_who_speak_to_exchanges_reach_the_internet(name: str) -> None:
    out = {
        policy["metadata"]["name"]
        for policy in of_kind(name, "NetworkPolicy")
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer and "except" in peer["ipBlock"]
    }
    assert out == {"ingestor", "history-api", "twap-engine"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_exchanges_are_reached_at_the_ports_that_they_have(name: str) -> None:
    """Binance and OKX have their sockets at others than 443."""
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(name, "NetworkPolicy")}
    for who, kinds in {"ingestor": ("stream", "rest"), "history-api": ("rest",), "twap-engine": ("rest",)}.items():
        (rule,) = [rule for rule in policies[who]["egress"] if any("ipBlock" in peer for peer in rule["to"])]
        wanted = {
            urlsplit(origin).port or 443
            for dialect in DIALECTS.values()
            for kind, origin in dialect.addresses.items()
            if kind.endswith(kinds)
        }
        assert {entry["port"] for entry in rule["ports"]} == wanted


@pytest.mark.parametrize("name", OVERLAYS)
def test_sockets_go_straight_to_the_hub_and_everything_else_to_the_gateway(name: str) -> None:
    routes = {resource["metadata"]["name"]: resource["spec"] for resource in of_kind(name, "HTTPRoute")}
    (sockets,) = routes["sockets"]["rules"]
    services = {resource["metadata"]["name"]: resource["spec"] for resource in of_kind(name, "Service")}
    for rule in [rule for route in routes.values() for rule in route["rules"]]:
        (target,) = rule["backendRefs"]
        assert target["port"] in {port["port"] for port in services[target["name"]]["ports"]}
    hub = next(container for container in pods(name) if container.module == "crosstape.stream_hub")
    assert sockets["backendRefs"] == [{"name": hub.name, "port": hub.ports["sockets"]}]
    for route in ROUTES:
        assert _matches(sockets, route.pattern) == route.is_socket, route.pattern


def _matches(rule: dict[str, Any], path: str) -> bool:
    """Whether the Gateway would send `path` there."""
    return any(
        path == match["path"]["value"]
        or (match["path"]["type"] == "PathPrefix" and path.startswith(match["path"]["value"] + "/"))
        for match in rule["matches"]
    )


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_that_has_no_end_is_cut_off_on_its_way(name: str) -> None:
    """Of exports, sockets and the dashboard's stream; a rule without a timeout has whatever the implementation has."""
    rules = [rule for route in of_kind(name, "HTTPRoute") for rule in route["spec"]["rules"] if "filters" not in rule]
    assert len(rules) >= 3
    assert [rule for rule in rules if rule.get("timeouts") != {"request": "0s"}] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_dashboard_knows_the_host_name_of_its_route(name: str) -> None:
    (dashboard,) = [container for container in pods(name) if not container.module]
    (route,) = [resource for resource in of_kind(name, "HTTPRoute") if resource["metadata"]["name"] == dashboard.name]
    assert route["spec"]["hostnames"] == [dashboard.options["site"]]


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_operators_ask_is_not_for_the_world(name: str) -> None:
    api = next(resource["spec"] for resource in of_kind(name, "HTTPRoute") if resource["metadata"]["name"] == "api")
    hidden = next(rule for rule in api["rules"] if "filters" in rule)
    assert {match["path"]["value"] for match in hidden["matches"]} == code.operations_paths()
    elsewhere = hidden["filters"][0]["urlRewrite"]["path"]["replaceFullPath"]
    assert not [route for route in ROUTES if code.fits(route.pattern, elsewhere)]
