"""The gate of `make lint` on what a commit may hold: it must be seen to fail."""

import pytest

from tools import check_repository


@pytest.mark.parametrize("host", ["py" + "pi.org", "files.python" + "hosted.org", "registry.npm" + "js.org"])
def test_host_of_a_package_registry_is_found(host: str) -> None:
    assert check_repository.forbidden(f"fine\nindex-url = https://{host}/simple") == [
        (2, f"a package registry's host: {host}")
    ]


@pytest.mark.parametrize("path", ["/ro" + "ot/.venv/bin", "/ho" + "me/alice/crosstape", "/wo" + "rk/main"])
def test_path_of_one_machine_is_found(path: str) -> None:
    assert len(check_repository.forbidden(f"file://{path}")) == 1


@pytest.mark.parametrize(
    "text", ["https://docs.example.org/work/", "services/work/x", "crates/x.io", "/internal/verify"]
)
def test_ordinary_text_passes(text: str) -> None:
    assert check_repository.forbidden(text) == []


def test_this_repository_passes() -> None:
    assert check_repository.findings() == []
