"""What the code says of itself: each service's settings, paths, metrics, routes, topics."""

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from starlette.routing import Route

from crosstape.common.runtime.health import Health
from crosstape.common.runtime.settings import InternalSettings
from crosstape.common.web.operations import operations_routes
from tests.deploy.tools import ROOT

HISTOGRAM_SAMPLES = ("_bucket", "_sum", "_count")


@cache
def settings_class(module: str) -> type[InternalSettings]:
    """The settings of the service that `python -m module` runs."""
    settings = importlib.import_module(f"{module}.settings")
    found = [
        kind
        for kind in vars(settings).values()
        if isinstance(kind, type) and issubclass(kind, InternalSettings) and kind.__module__ == settings.__name__
    ]
    assert len(found) == 1, f"{settings.__name__} has {len(found)} settings classes of a service"
    return found[0]


@cache
def service_modules() -> frozenset[str]:
    """Every package that is a service."""
    return frozenset(f"crosstape.{folder.name.replace('-', '_')}" for folder in (ROOT / "services").iterdir())


def variables(module: str) -> frozenset[str]:
    """The variables that a service reads."""
    return frozenset(f"CROSSTAPE_{field.upper()}" for field in settings_class(module).model_fields)


def operations_paths() -> frozenset[str]:
    """The paths that every service answers to its operators."""
    return frozenset(route.path for route in operations_routes(Health()) if isinstance(route, Route))


@cache
def metrics() -> dict[str, frozenset[str]]:
    """Every series that the services expose, by name, with the names of its labels."""
    found = {family.name: frozenset[str]() for family in REGISTRY.collect() if family.name.startswith("process_")}
    found |= {f"{name}_total": labels for name, labels in found.items() if name == "process_cpu_seconds"}
    for module in _modules_with_metrics():
        for metric in vars(module).values():
            if not isinstance(metric, MetricWrapperBase):
                continue
            labels = frozenset(metric._labelnames)
            for family in metric.describe():
                if family.type == "histogram":
                    found |= {f"{family.name}{suffix}": labels for suffix in HISTOGRAM_SAMPLES}
                    found[f"{family.name}_bucket"] = labels | {"le"}
                else:
                    found[f"{family.name}_total" if family.type == "counter" else family.name] = labels
    return found


def _modules_with_metrics() -> list[ModuleType]:
    """Modules that mention prometheus_client: all others can hold no metric."""
    names = [
        f"{service}.{'.'.join(path.relative_to(folder).with_suffix('').parts)}"
        for service in service_modules() | {"crosstape.common"}
        for folder in map(Path, _folder(service))
        for path in folder.rglob("*.py")
        if re.search(r"^from prometheus_client", path.read_text(), re.MULTILINE)
    ]
    return [importlib.import_module(name) for name in names]


def _folder(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    return list(spec.submodule_search_locations)


def fits(pattern: str, path: str) -> bool:
    """Whether a route of the gateway (`/{exchange}/symbols`) answers `path`."""
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)), path) is not None
