"""What is shown and written: the table at the end, as JSON and as Markdown."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.soak.judge import Finding

MARKS = {True: "kept", False: "BROKEN", None: "stated"}
SHOWN = 10


def show(console: Console, findings: Sequence[Finding]) -> None:
    """The table, and below it what is wrong."""
    table = Table(title="Soak", title_justify="left")
    table.add_column("promise")
    table.add_column("verdict")
    table.add_column("figures", overflow="fold")
    for finding in findings:
        color = {True: "green", False: "red", None: "dim"}[finding.is_kept]
        table.add_row(finding.promise, f"[{color}]{MARKS[finding.is_kept]}[/]", finding.figures)
    console.print(table)
    for finding in findings:
        for line in finding.wrong[:SHOWN]:
            console.print(f"  {finding.promise}: {line}", highlight=False, markup=False, soft_wrap=True)


def write(folder: Path, settings: dict[str, Any], findings: Sequence[Finding]) -> Path:
    """`soak-TIME.json` and `.md` in `folder`; returns the path of the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    name = f"soak-{now:%Y%m%dT%H%M%SZ}"
    content = {"time": now.isoformat(), **settings, "findings": [asdict(finding) for finding in findings]}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    page = folder / f"{name}.md"
    page.write_text(markdown(settings, findings))
    return page


def markdown(settings: dict[str, Any], findings: Sequence[Finding]) -> str:
    """The same as a page."""
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    lines = [f"# Soak\n\n{told}\n", "| promise | verdict | figures |", "|---|---|---|"]
    lines += [f"| {one.promise} | {MARKS[one.is_kept]} | {one.figures.replace('|', '/')} |" for one in findings]
    wrong = [f"- {one.promise}: {line}" for one in findings for line in one.wrong]
    return "\n".join([*lines, *(["\n## What is wrong\n", *wrong] if wrong else [])]) + "\n"
