"""The dashboards show series that exist, and are all provided."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import code
from tests.deploy.promql import problems
from tests.deploy.tools import ROOT, compose, of_kind

FOLDER = ROOT / "deploy/grafana"
FILES = sorted(FOLDER.glob("dashboards/*.json"))


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_is_of_series_and_labels_that_the_services_have(path: Path) -> None:
    targets = [(panel["title"], target["expr"]) for panel in _read(path)["panels"] for target in panel["targets"]]
    assert len(targets) > 5
    wrong = {title: found for title, expression in targets if (found := problems(expression, code.metrics()))}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_lie_beside_each_other_and_ask_the_source_that_is_provided(path: Path) -> None:
    dashboard = _read(path)
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert dashboard["uid"] == path.stem
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_service_with_metrics_of_its_own_is_shown() -> None:
    shown = "".join(path.read_text() for path in FILES)
    missing = {
        name
        for name in code.metrics()
        if name.startswith("crosstape_") and not name.endswith(("_sum", "_count", "_bucket"))
    }
    assert not {name for name in missing if name not in shown}


def test_compose_and_kubernetes_provide_the_same_dashboards() -> None:
    mounts = {volume["target"]: Path(volume["source"]) for volume in compose()["services"]["grafana"]["volumes"]}
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/crosstape.yml").read_text())["providers"]
    assert mounts[provider["options"]["path"]] == FOLDER / "dashboards"
    maps = [
        resource for resource in of_kind("prod", "ConfigMap") if resource["metadata"]["name"].startswith("dashboards")
    ]
    assert [set(resource["data"]) for resource in maps] == [{path.name for path in FILES}]
    assert maps[0]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_of_every_process_of_a_cluster_only_ours_are_shown() -> None:
    """All programs with a client of Prometheus have the series `up` and `process_...`."""
    expressions = [target["expr"] for path in FILES for panel in _read(path)["panels"] for target in panel["targets"]]
    of_all = [expression for expression in expressions if re.search(r"\b(up|process_\w+)\b", expression)]
    assert len(of_all) >= 6
    assert [expression for expression in of_all if not re.search(r"\b(up|process_\w+)\{job", expression)] == []
