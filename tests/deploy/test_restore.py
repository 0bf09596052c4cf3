"""A backup has somewhere to go in both deployments, and coming back from it is told in an order that works."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from crosstape.common.bus.topics import LEDGER, TRADES
from crosstape.history.migrate import migrations
from crosstape.history.sink.service import GROUP
from tests.deploy.commands import blocks, check_kubectl, kafka_address, words_of
from tests.deploy.tools import OVERLAYS, ROOT, compose, of_kind

PAGE = ROOT / "docs/how-to/restore.md"
BLOCKS = [block for block in blocks(PAGE, "bash") if re.search("clickhouse|history-|postgres", block)]
TYPED = [words[2:-1] if words[0] == "ask()" else words for block in BLOCKS for words in words_of(block)]
VERBS = frozenset({"annotate", "apply", "cp", "delete", "exec", "scale", "wait"})


@pytest.mark.parametrize("words", [words for words in TYPED if words[0] == "kubectl"], ids=lambda words: words[3])
def test_command_names_what_the_cluster_has(words: list[str]) -> None:
    check_kubectl(words, VERBS)


@pytest.mark.parametrize("words", [words for words in TYPED if words[0] == "docker"], ids=lambda words: words[2])
def test_command_names_what_the_compose_file_has(words: list[str]) -> None:
    assert words[1] == "compose"
    if words[2] == "cp":
        named = {word.partition(":")[0] for word in words[3:] if ":" in word}
    else:
        services = [word for word in words[3:] if not word.startswith("-")]
        named = set(services[:1] if words[2] == "exec" else services)
    assert named
    assert named <= compose()["services"].keys()


def test_the_group_that_is_turned_back_is_the_sinks_at_the_broker_that_there_is() -> None:
    turned = [dict(pairwise(words)) for words in TYPED if "--reset-offsets" in words]
    advertised = compose()["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert {words["--bootstrap-server"] for words in turned} == {advertised.rpartition("//")[2], kafka_address()}
    assert {words["--group"] for words in turned} == {GROUP}
    topics = [value for words in TYPED for flag, value in pairwise(words) if flag == "--topic"]
    assert sorted(topics) == sorted([LEDGER.name, TRADES.name] * 2)


@pytest.mark.parametrize(
    "steps",
    [
        [
            "docker compose stop history-sink history-api",
            "TRUNCATE ALL TABLES FROM crosstape",
            "RESTORE DATABASE crosstape",
            "docker compose exec kafka",
            "docker compose start history-api history-sink",
        ],
        [
            "annotate scaledobject history-sink autoscaling.keda.sh/paused-replicas=0",
            "scale deploy/history-api --replicas=0",
            "wait --for=delete pod -l app.kubernetes.io/name=history-sink",
            "wait --for=delete pod -l app.kubernetes.io/name=history-api",
            "TRUNCATE ALL TABLES FROM default ON CLUSTER 'tape'",
            "RESTORE DATABASE default",
            "--reset-offsets",
            "scale deploy/history-api --replicas=3",
            "annotate scaledobject history-sink autoscaling.keda.sh/paused-replicas-",
        ],
    ],
    ids=["compose", "kubernetes"],
)
def test_nothing_writes_while_the_tables_are_filled_and_nobody_is_in_the_group_that_is_turned_back(
    steps: list[str],
) -> None:
    (block,) = [block for block in BLOCKS if steps[0] in block]
    places = [block.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_as_many_are_started_as_there_must_be() -> None:
    wanted = {
        **{each["metadata"]["name"]: each["spec"].get("replicas") for each in of_kind("prod", "Deployment")},
        **{
            each["metadata"]["name"]: each["spec"]["minReplicas"] for each in of_kind("prod", "HorizontalPodAutoscaler")
        },
    }
    scaled = [words[4:] for words in TYPED if words[3:4] == ["scale"]]
    assert {"deploy/history-api", "deploy/auth"} == {name for name, _ in scaled}
    for name in {name for name, _ in scaled}:
        stopped, started = [replicas for other, replicas in scaled if other == name]
        assert (stopped, started) == ("--replicas=0", f"--replicas={wanted[name.removeprefix('deploy/')]}")


def test_backups_are_of_the_databases_that_there_are() -> None:
    made = [line for block in BLOCKS for line in block.splitlines() if "ask " in line and " DATABASE " in line]
    of_compose = compose()["services"]["clickhouse"]["environment"]["CLICKHOUSE_DB"]
    assert f"@clickhouse:8123/{of_compose}" in (ROOT / "deploy/compose/make-secrets.sh").read_text()
    for secrets in ("prod/secrets.yaml", "dev/make-secrets.sh"):
        assert ":8123/default" in (ROOT / "deploy/k8s/overlays" / secrets).read_text()
    assert sorted(line.split()[3] for line in made) == sorted([of_compose, "default"] * 2)


def _compose_disks() -> tuple[dict[str, str], dict[str, str], set[str]]:
    """ClickHouse's settings by their paths, what is mounted where, and what of that outlives the container."""
    volumes = compose()["services"]["clickhouse"]["volumes"]
    mounted = {each["target"]: each["source"] for each in volumes}
    settings = _by_path(ElementTree.parse(mounted["/etc/clickhouse-server/config.d/backups.xml"]).getroot())
    return settings, mounted, set(compose()["volumes"])


def _cluster_disks(name: str) -> tuple[dict[str, str], dict[str, str], set[str]]:
    (clickhouse,) = of_kind(name, "ClickHouseInstallation")
    templates = clickhouse["spec"]["templates"]
    (container,) = templates["podTemplates"][0]["spec"]["containers"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    kept = {template["name"] for template in templates["volumeClaimTemplates"]}
    return clickhouse["spec"]["configuration"]["settings"], mounted, kept


def _by_path(element: ElementTree.Element, above: str = "") -> dict[str, str]:
    """<a><b>c</b></a> in the root as {"a/b": "c"}."""
    found: dict[str, str] = {}
    for child in element:
        path = f"{above}{child.tag}"
        found |= _by_path(child, f"{path}/") if len(child) else {path: child.text or ""}
    return found


@pytest.mark.parametrize("where", ["compose", *OVERLAYS])
def test_the_disk_that_is_named_is_there_allowed_and_kept(where: str) -> None:
    settings, mounted, kept = _compose_disks() if where == "compose" else _cluster_disks(where)
    (disk,) = {part.partition("'")[0] for block in BLOCKS for part in block.split("Disk('")[1:]}
    assert settings["backups/allowed_disk"] == disk
    assert settings[f"storage_configuration/disks/{disk}/type"] == "local"
    path = settings[f"storage_configuration/disks/{disk}/path"]
    assert mounted[path.rstrip("/")] in kept
    assert mounted[path.rstrip("/")] != mounted.get("/var/lib/clickhouse"), "what loses the data must leave the backup"
    assert [word for words in TYPED for word in words if f":{path}" in word], "nobody takes the backup away from there"


@pytest.mark.integration
def test_the_statements_bring_the_tape_back_out_of_that_disk(tmp_path: Path) -> None:
    """ClickHouse itself, embedded, with the disk of the compose file and the tables of history. It cannot write zip."""
    typed = [words[1].replace(".zip", "") for words in TYPED if words[0] == "ask" and "crosstape" in words[1].split()]
    backup, truncate, restore = typed
    config = tmp_path / "backups.xml"
    config.write_text((ROOT / "deploy/compose/backups.xml").read_text().replace("/backups/", f"{tmp_path}/backups/"))
    made = ["CREATE DATABASE crosstape", "USE crosstape", *(each.statement("") for each in migrations())]
    stored = "INSERT INTO crosstape.schema_migrations (name, checksum) VALUES ('{}', '')"
    asked = "SELECT name FROM crosstape.schema_migrations FINAL ORDER BY name"
    statements = [*made, stored.format("then"), backup, stored.format("since"), truncate, restore, asked]
    script = (
        "import json, sys; from chdb.session import Session; session = Session(sys.argv[1]); "
        "print(*[session.query(each, 'TSV') for each in json.loads(sys.argv[2])][-1:])"
    )
    address = f"{tmp_path}/store?config-file={config}"
    done = subprocess.run(
        [sys.executable, "-c", script, address, json.dumps(statements)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["then"], done.stderr
