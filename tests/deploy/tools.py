"""The programs that validate, from wheels of the lock; and promtool, which only Debian packages."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench import programs

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("dev", "prod")


def run(program: str, *arguments: str, folder: Path = ROOT) -> str:
    """What a program of the virtual environment prints; fails the test with all that it said otherwise."""
    path = Path(sys.executable).parent / program
    done = subprocess.run([path, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{program} {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def promtool() -> str | None:
    """The path of promtool: of this machine, or out of Debian's package; None where neither is to be had."""
    return programs.find("promtool")


@cache
def overlay(name: str) -> list[dict[str, Any]]:
    """The resources of deploy/k8s/overlays/<name>, as `kubectl apply -k` would send them."""
    text = run("kubectl", "kustomize", f"deploy/k8s/overlays/{name}")
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(name: str, *kinds: str) -> list[dict[str, Any]]:
    """The overlay's resources of some kinds."""
    return [resource for resource in overlay(name) if resource["kind"] in kinds]


@cache
def compose() -> dict[str, Any]:
    """docker-compose.yml as `docker compose config` understands it: merged, interpolated, normalized."""
    text = run("docker-compose", "--file", "docker-compose.yml", "config", "--format", "yaml")
    loaded: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return loaded
