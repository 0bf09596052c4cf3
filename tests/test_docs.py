"""The documentation site: its gate is seen to fail, it asks no other host, and its pages are what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generator import __main__ as generator
from tools import check_repository

ROOT = Path(__file__).parents[1]


@pytest.mark.integration
def test_the_build_fails_for_links_that_lead_nowhere_and_for_them_alone_and_loads_nothing_foreign(
    tmp_path: Path,
) -> None:
    """One build as `make docs` does it, because each takes seconds."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for source in (ROOT / "mkdocs.yml", *ROOT.glob("*.md")):
        shutil.copy(source, tmp_path)
    with (tmp_path / "docs" / "index.md").open("a") as index:
        index.write("[a file](nowhere.md) and [a heading](explanation/bars.md#nowhere)\n")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"],
        cwd=tmp_path,
        env={"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode != 0
    warnings = re.findall(r"WARNING.*", built.stderr)
    assert [re.findall(r"nowhere\.md|#nowhere", warning)[-1] for warning in warnings] == ["nowhere.md", "#nowhere"]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        foreign = r'<(?:script|img|iframe)[^>]+src="(?:https?:|//)|<link[^>]+href="(?:https?:|//)'
        assert re.findall(foreign, page.read_text()) == [], page


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[a](nowhere.md)", "a link to nothing: nowhere.md"),
        ("`tests/nowhere.py`", "no such file: tests/nowhere.py"),
        ("`services/.../nowhere.sql`", "no such file: services/.../nowhere.sql"),
        ("`tests/test_docs.py::test_nothing`", "no such test: tests/test_docs.py::test_nothing"),
    ],
)
def test_a_page_that_names_what_there_is_not_is_found(text: str, what: str) -> None:
    assert check_repository.dead(f"fine\n{text}", ROOT) == [(2, what)]


@pytest.mark.parametrize(
    "text",
    [
        "[a](README.md#more)",
        "[b](https://example.org/x)",
        "[c](#d)",
        "`libs/.../bar.py`",
        "`tests/`",
        "`tests/demo.py::until`",
    ],
)
def test_a_page_that_names_what_there_is_passes(text: str) -> None:
    assert check_repository.dead(text, ROOT) == []


def test_a_generated_page_that_is_not_current_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "settings.md"
    page.parent.mkdir()
    page.write_text("old")
    monkeypatch.setattr(generator, "FOLDER", page.parent)
    monkeypatch.setattr(generator, "PAGES", {"settings.md": lambda: "new"})
    assert generator.main(["--check"]) == 1
    assert page.read_text() == "old"
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    assert page.read_text() == "new"


@pytest.mark.parametrize(
    ("word", "reference", "others"),
    [
        (
            r"\bcrosstape_[a-z]+_[a-z_]+",
            "reference/metrics.md",
            {"crosstape_internal_secret", "crosstape_signing_key_secret"},
        ),
        (
            r"\bCROSSTAPE_[A-Z0-9_]+",
            "settings.md",
            {f"CROSSTAPE_{name}" for name in ("URL", "API_KEY", "SECRETS_DIR", "X")},
        ),
    ],
    ids=["metrics", "settings"],
)
def test_metrics_and_settings_that_pages_name_are_in_the_reference(word: str, reference: str, others: set[str]) -> None:
    known = set(re.findall(word, (ROOT / "docs" / reference).read_text())) | others
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    assert len(known) > 20
    assert {name for page in pages for name in re.findall(word, page.read_text())} - known == set()
