"""The gate of `make lint` on what a commit may hold: it must be seen to fail."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "check_repository.py"
    spec = importlib.util.spec_from_file_location("check_repository", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("host", ["py" + "pi.org", "files.python" + "hosted.org", "registry.npm" + "js.org"])
def test_host_of_a_package_registry_is_found(check: ModuleType, host: str) -> None:
    assert check.forbidden(f"fine\nindex-url = https://{host}/simple") == [(2, f"a package registry's host: {host}")]


@pytest.mark.parametrize("path", ["/ro" + "ot/.venv/bin", "/ho" + "me/alice/crosstape", "/wo" + "rk/main"])
def test_path_of_one_machine_is_found(check: ModuleType, path: str) -> None:
    assert len(check.forbidden(f"file://{path}")) == 1


@pytest.mark.parametrize(
    "text", ["https://docs.example.org/work/", "services/work/x", "crates/x.io", "/internal/verify"]
)
def test_ordinary_text_passes(check: ModuleType, text: str) -> None:
    assert check.forbidden(text) == []


def test_this_repository_passes(check: ModuleType) -> None:
    assert check.findings() == []
