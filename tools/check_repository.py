"""What no committed file may hold (a package registry's host, a path of somebody's machine), and what must be current.

Run by `make lint`. Prints each finding as file:line and exits 1 when there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

from crosstape.cli.settings_page import page

ROOT = Path(__file__).resolve().parents[1]
SETTINGS_PAGE = ROOT / "docs" / "settings.md"

FORBIDDEN = {
    "a package registry's host": re.compile(
        r"\b(?:pypi\.(?:org|io)|(?:files\.)?pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|(?:static\.)?crates\.io"
        r"|proxy\.golang\.org|repo1?\.maven(?:\.apache)?\.org|(?:deb|security)\.debian\.org)\b"
    ),
    "a path of one machine": re.compile(r"(?<![\w.-])/(?:work|root|home/\w+|Users/\w+|tmp/(?:scratch|cli))(?=/)"),
}


def tracked() -> list[Path]:
    """Files that are, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def forbidden(text: str) -> list[tuple[int, str]]:
    """Line numbers and what was found there."""
    return [
        (number, f"{what}: {found.group()}")
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if (found := pattern.search(line))
    ]


def findings() -> list[str]:
    """Everything wrong, one line each."""
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{number}: {what}" for number, what in forbidden(text)]
    return found + stale_pages()


def stale_pages() -> list[str]:
    """Generated pages that are not what would be generated now."""
    current = SETTINGS_PAGE.read_text() if SETTINGS_PAGE.exists() else ""
    return [] if current == page() else [f"{SETTINGS_PAGE.relative_to(ROOT)}: not current; run make fix"]


def main() -> int:
    """The exit code."""
    found = findings()
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
