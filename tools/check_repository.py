"""What no committed file may hold (a package registry's host, a path of somebody's machine), and what must hold of
its pages: links and the files and tests they name exist, and those that are made from the code are current.

Run by `make lint`. Prints each finding as file:line and exits 1 when there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "a package registry's host": re.compile(
        r"\b(?:pypi\.(?:org|io)|(?:files\.)?pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|(?:static\.)?crates\.io"
        r"|proxy\.golang\.org|repo1?\.maven(?:\.apache)?\.org|(?:deb|security)\.debian\.org)\b"
    ),
    "a path of one machine": re.compile(r"(?<![\w.-])/(?:work|root|home/\w+|Users/\w+|tmp/(?:scratch|cli))(?=/)"),
}

LINK = re.compile(r"\]\(<?([^)\s>#]+)[^)]*\)")
NAMED = re.compile(r"`((?:bench|clients|deploy|docs|libs|services|tests|tools)/[^`\s:]*)(?:::(\w+))?`")
"""A file of ours in a text, and a test in it; `...` and `*` stand for any part of the path."""


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
        wrong = forbidden(text) + (dead(text, path.parent) if path.suffix == ".md" else [])
        found += [f"{path.relative_to(ROOT)}:{number}: {what}" for number, what in wrong]
    return found


def dead(text: str, folder: Path) -> list[tuple[int, str]]:
    """Line numbers of links from a page in `folder`, and of files and tests it names, that lead nowhere."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        links = (link for link in LINK.findall(line) if not re.match(r"[a-z]+:", link))
        found += [(number, f"a link to nothing: {link}") for link in links if not (folder / link).exists()]
        found += [(number, f"no such {what}") for path, test in NAMED.findall(line) if (what := _missing(path, test))]
    return found


def _missing(path: str, test: str) -> str:
    files = list(ROOT.glob(path.rstrip("/").replace("...", "**").replace("<exchange>", "*")))
    if not files:
        return f"file: {path}"
    has_test = not test or any(re.search(rf"def {test}\b", file.read_text()) for file in files)
    return "" if has_test else f"test: {path}::{test}"


def stale_pages() -> list[str]:
    """Generated pages that are not what would be generated now."""
    generator = [sys.executable, "-m", "docs.generator", "--check"]
    done = subprocess.run(generator, cwd=ROOT, capture_output=True, text=True, check=False)
    failure = f"docs/generator: {(done.stderr.splitlines() or ['failed'])[-1]}"
    return (done.stdout.splitlines() or [failure]) if done.returncode else []


def main() -> int:
    """The exit code."""
    found = findings() + stale_pages()
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
