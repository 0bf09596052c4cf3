"""A headless Chromium for tests: the machine's own, or Debian's package unpacked under `.crosstape/`, without root.

apt is run on folders of our own with the machine's list of installed packages: it fetches what the browser needs and
the machine lacks, and nothing outside of the folder changes.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "chromium-headless-shell"
FONTS = "fonts-dejavu-core"
_INSTALLED = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_FOLDER = Path(__file__).parents[2] / ".crosstape" / "chromium"
_NEVER_UNPACKED = ("libc6_", "libc-bin_", "libc6-")
"""The C library belongs to the machine's own loader."""

_INDEX_SECONDS, _DOWNLOAD_SECONDS = 60, 120
"""Together less than the first test may take, which has to fetch it: over a slow line there is none."""


class NoChromium(Exception):
    """There can be no browser here; says why."""


@dataclass(frozen=True, slots=True)
class Chromium:
    """A browser's program, and the environment it needs to run."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)

    def version(self) -> str:
        """What it says of itself. Raises NoChromium when it does not run."""
        try:
            said = subprocess.run(
                (str(self.program), "--version", "--no-sandbox"),
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            raise NoChromium(f"{self.program} does not run: {reason.strip()[-300:]}") from None
        return said.stdout.strip()


def chromium() -> Chromium:
    """A browser that runs. Raises NoChromium."""
    for name in _INSTALLED:
        if found := shutil.which(name):
            installed = Chromium(Path(found))
            installed.version()
            return installed
    with _alone():
        root = _unpacked()
    unpacked = _within(root)
    unpacked.version()
    return unpacked


def _unpacked() -> Path:
    """The folder with the package of the newest version, fetched if it is not there yet."""
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoChromium(f"no Chromium is installed, and this is no Debian to fetch one from: {tool} is missing")
    if ready := sorted(_FOLDER.glob("*/ready")):
        return ready[-1].parent
    apt = _apt()
    _run((*apt, "update"), _INDEX_SECONDS)
    archives = _FOLDER / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    _run((*apt, "install", "--download-only", "--yes", "--no-install-recommends", PACKAGE, FONTS), _DOWNLOAD_SECONDS)
    packages = sorted(archives.glob("*.deb"))
    own = next((package for package in packages if package.name.startswith(f"{PACKAGE}_")), None)
    if own is None:
        raise NoChromium(f"apt fetched no {PACKAGE}")
    root = _FOLDER / own.stem.replace("%3a", "-")
    shutil.rmtree(root, ignore_errors=True)
    for package in packages:
        if not package.name.startswith(_NEVER_UNPACKED):
            _run(("dpkg-deb", "--extract", str(package), str(root)), _INDEX_SECONDS)
    shutil.rmtree(archives)
    (root / "ready").touch()
    return root


def _within(root: Path) -> Chromium:
    program = next(root.glob("usr/lib/chromium/*headless[-_]shell"), None) or next(
        root.glob("usr/bin/chromium-headless-shell"), None
    )
    if program is None:
        raise NoChromium(f"{PACKAGE} has no program in {root}")
    libraries = {str(file.parent) for file in root.glob("usr/lib/**/*.so*")} | {
        str(file.parent) for file in root.glob("lib/**/*.so*")
    }
    fonts = root / "usr" / "share"
    return Chromium(program, {"LD_LIBRARY_PATH": ":".join(sorted(libraries)), "XDG_DATA_HOME": str(fonts)})


def _apt() -> tuple[str, ...]:
    """apt-get, working in our folder only. What is installed is the machine's truth, and is read only."""
    for name in ("lists/partial", "archives/partial", "cache", "log"):
        (_FOLDER / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": _FOLDER / "lists",
        "Dir::Cache": _FOLDER / "cache",
        "Dir::Cache::archives": _FOLDER / "archives",
        "Dir::Log": _FOLDER / "log",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
    }
    return ("apt-get", "--quiet", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")))


def _run(command: tuple[str, ...], seconds: int) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise NoChromium(f"{command[0]} {command[-1]} took longer than {seconds} s") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NoChromium(f"no Chromium is installed and Debian's could not be fetched: {words[-1] if words else ''}")


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time fetches."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
