"""Programs that no Python package brings: the load generator and the proxies that are no Python.

They are taken from the PATH, else unpacked (not installed) from Debian's packages under .crosstape/bench-programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".crosstape" / "bench-programs"
PACKAGES = {
    "wrk": ("wrk", "libluajit-5.1-2", "libluajit-5.1-common"),
    "nginx": ("nginx", "nginx-common"),
    "caddy": ("caddy",),
    "promtool": ("prometheus",),
}
_PLACES = ("usr/bin", "usr/sbin")
_DOWNLOAD_SECONDS = 60


def find(name: str) -> str | None:
    """The program's path; None when this machine has it not, and its packages cannot be had."""
    found = shutil.which(name, path=_path())
    return shutil.which(name, path=_path()) if found is None and _unpack(name) else found


def environment() -> dict[str, str]:
    """What an unpacked program needs to find its libraries."""
    libraries = sorted(str(path) for path in FOLDER.glob("usr/lib/*-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), *(str(FOLDER / place) for place in _PLACES)])


def _unpack(name: str) -> bool:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    packages = FOLDER / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "download", *PACKAGES[name]]
    try:
        subprocess.run(command, cwd=packages, capture_output=True, check=True, timeout=_DOWNLOAD_SECONDS)
    except subprocess.SubprocessError:
        return False
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(FOLDER)], check=True)
        package.unlink()
    return True
