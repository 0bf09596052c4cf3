"""`python -m docs.generator` writes every generated page; `--check` names those not current, with exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from crosstape.cli import settings_page
from docs.generator import metrics, openapi, rest, tables, topics, websocket

FOLDER = Path(__file__).resolve().parents[1]

PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page.page,
    **{module.PATH: module.page for module in (openapi, rest, websocket, metrics, topics, tables)},
}


def stale() -> dict[Path, str]:
    """The pages whose files are not what is made now, with what they should be."""
    made = {FOLDER / name: page() for name, page in PAGES.items()}
    return {path: text for path, text in made.items() if not path.exists() or path.read_text() != text}


def main(arguments: list[str]) -> int:
    """The exit code."""
    found = stale()
    for path, text in found.items():
        name = path.relative_to(FOLDER.parent)
        if "--check" in arguments:
            sys.stdout.write(f"{name}: not current; run make fix\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"{name}: written\n")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
