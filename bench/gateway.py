"""(G) A request through the gateway, with identity and limits on, against the service directly and other proxies.

Every proxy runs on one core, under wrk's 64 connections; wrk, the service and Valkey are on another. The figures are
requests in a second of the proxy's own processor time, user and system: what it would serve with that core to itself,
whatever else the machine does. Crosstape verifies a Bearer token, counts each request in
Valkey and shows the service who is behind it; the peers only pass on. The overhead is the median time of an answer at
500 requests a second through the proxy, less that of the service directly.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis

from bench import programs
from bench.measure import OURS, Row, Skip, Work, compare, limit, take_turns
from bench.store import fresh_folder
from crosstape.cli.engines import valkey_binary
from crosstape.cli.ports import free_port
from crosstape.common.identity.access import Claims, JwkSet, public_jwk, sign_access_token
from crosstape.common.identity.principal import ROLE_SCOPES, Role
from crosstape.common.identity.revocations import COUNT_KEY

ROUNDS = 7
SECONDS = 2
CONNECTIONS = 64
PACE = 500
PATHS = {"tiny": "/exchanges", "1,000 bars": "/api/v1/ohlcv/binance/BTC-USDT"}
DIRECT, AIOHTTP, HTTPX, NGINX, CADDY = "the service directly", "FastAPI + aiohttp", "FastAPI + httpx", "nginx", "caddy"
SECRET = "for this benchmark alone on loopback"  # noqa: S105
_ROOT = Path(__file__).resolve().parents[1]


def measure() -> list[Row]:
    """Start everybody, take turns."""
    load = programs.find("wrk")
    if load is None:
        raise Skip("wrk is neither installed nor to be had from Debian's packages")
    folder = fresh_folder("gateway")
    with contextlib.ExitStack() as stack:
        token, running = _start(stack, folder)
        rates: dict[str, dict[str, list[float]]] = {}
        for what, path in PATHS.items():
            works = {name: _loading(load, *found, path, token) for name, found in running.items()}
            rates[what] = take_turns(works, ROUNDS)
        paced = {name: _pacing(running[name][0], PATHS["tiny"], token) for name in (OURS, DIRECT, AIOHTTP)}
        overheads = take_turns(paced, ROUNDS)
    return [*(row for what in PATHS for row in _compared(what, rates[what])), *_latency(overheads)]


def _compared(what: str, rates: Mapping[str, Sequence[float]]) -> list[Row]:
    goals = {AIOHTTP: 3.0, CADDY: 0.7}
    title = f"hot GET, {what}"
    return [
        compare(title, rates, peer, least=goals.get(peer))
        if peer in rates
        else Row(title, "", peer, "not measured", "")
        for peer in (DIRECT, NGINX, CADDY, AIOHTTP, HTTPX)
    ]


def _latency(times: Mapping[str, Sequence[float]]) -> list[Row]:
    added = {name: [a - b for a, b in zip(times[name], times[DIRECT], strict=True)] for name in (OURS, AIOHTTP)}
    what = f"p50 added at {PACE} requests/s"
    return [
        limit(what, median(added[OURS]) / 1000, 0.5),
        compare(what, added, AIOHTTP, unit=" µs"),
    ]


def _start(stack: contextlib.ExitStack, folder: Path) -> tuple[str, dict[str, tuple[int, psutil.Process]]]:
    """A token that the gateway takes; and everybody's port and process."""
    key = Ed25519PrivateKey.generate()
    now = int(time.time())
    claims = Claims(
        sub="1", jti="1", iat=now, exp=now + 3600, sid="1", ver=1, name="bench", role=Role.QUANT,
        scope=" ".join(ROLE_SCOPES[Role.QUANT]),
    )  # fmt: skip
    keys = msgspec.json.encode(JwkSet([public_jwk("bench", key.public_key())])).decode()
    service, redis = free_port(), free_port()
    python = (sys.executable, "-m")
    serving = stack.enter_context(_running((*python, "bench.proxied", str(service), keys), service, core=1))
    valkey = (str(valkey_binary()), "--bind", "127.0.0.1", "--port", str(redis), "--save", "", "--dir", str(folder))
    stack.enter_context(_running(valkey, redis, core=1))
    with Redis(port=redis) as client:
        client.set(COUNT_KEY, 0)
    origin = f"http://127.0.0.1:{service}"
    ports: dict[str, int] = {}
    contenders: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}
    port = ports[OURS] = free_port()
    contenders[OURS] = (*python, "crosstape.api_gateway"), _gateway_settings(port, origin, redis)
    for name, app in ((AIOHTTP, "with_aiohttp"), (HTTPX, "with_httpx")):
        if name == HTTPX and not importlib.util.find_spec("httpx"):
            continue
        port = ports[name] = free_port()
        options = ("--port", str(port), "--no-access-log", "--log-level", "error")
        contenders[name] = (*python, "uvicorn", f"bench.peer_proxies:{app}", *options), {"UPSTREAM": origin}
    for name, configure in ((NGINX, _nginx), (CADDY, _caddy)):
        if program := programs.find(name):
            port = ports[name] = free_port()
            contenders[name] = (program, *configure(folder, port, service)), {"GOMAXPROCS": "1", "HOME": str(folder)}
    running = {DIRECT: (service, serving)}
    for name, (command, environment) in contenders.items():
        process = stack.enter_context(_running(command, ports[name], core=0, environment=environment))
        running[name] = (ports[name], process)
    return sign_access_token(claims, key, "bench"), running


def _gateway_settings(port: int, origin: str, redis: int) -> dict[str, str]:
    plenty = "1000000/s burst 1000000"
    return {
        "CROSSTAPE_PORT": str(port),
        "CROSSTAPE_HISTORY_URL": origin,
        "CROSSTAPE_AUTH_URL": origin,
        "CROSSTAPE_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
        "CROSSTAPE_KAFKA_BOOTSTRAP": "",
        "CROSSTAPE_INTERNAL_SECRET": SECRET,
        "CROSSTAPE_LOG_LEVEL": "ERROR",
        "CROSSTAPE_LIMIT_QUANT": plenty,
        "CROSSTAPE_LIMIT_ANONYMOUS": plenty,
    }


def _nginx(folder: Path, port: int, service: int) -> tuple[str, ...]:
    """One worker, kept-alive connections to the service, no log."""
    paths = "".join(
        f"{kind}_temp_path {folder}/nginx-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr crit;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; {paths} keepalive_requests 10000000;\n"
        f"upstream service {{ server 127.0.0.1:{service}; keepalive 128; keepalive_requests 10000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://service; proxy_http_version 1.1; "
        'proxy_set_header Connection ""; } } }\n'
    )
    return ("-c", str(folder / "nginx.conf"), "-e", "stderr", "-p", str(folder))


def _caddy(folder: Path, port: int, service: int) -> tuple[str, ...]:
    (folder / "Caddyfile").write_text(
        "{\nadmin off\nauto_https off\nlog {\nlevel ERROR\n}\n}\n"
        f"http://127.0.0.1:{port} {{\nbind 127.0.0.1\n"
        f"reverse_proxy 127.0.0.1:{service} {{\ntransport http {{\nkeepalive_idle_conns_per_host 128\n}}\n}}\n}}\n"
    )
    return ("run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile")


def _loading(load: str, port: int, process: psutil.Process, path: str, token: str) -> Work:
    command = [
        load, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Authorization: Bearer {token}",
        f"http://127.0.0.1:{port}{path}",
    ]  # fmt: skip

    def work() -> float:
        before = _processor_seconds(process)
        output = _run(command)
        used = _processor_seconds(process) - before
        if "Non-2xx" in output or not (found := re.search(r"(\d+) requests in", output)):
            raise RuntimeError(f"{path} at {port}: {output}")
        return int(found[1]) / used

    return work


def _processor_seconds(process: psutil.Process) -> float:
    times = [part.cpu_times() for part in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _pacing(port: int, path: str, token: str) -> Work:
    header = f"Authorization: Bearer {token}"
    command = [sys.executable, "-m", "bench.paced", str(port), path, str(PACE), str(SECONDS), header]
    return lambda: float(_run(command))


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        _pinned(command, 1),
        env=programs.environment(),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _pinned(command: Sequence[str], core: int) -> list[str]:
    """`command` on one core."""
    cores = sorted(os.sched_getaffinity(0))
    pin = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
    return [sys.executable, "-c", pin, str(cores[min(core, len(cores) - 1)]), *command]


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, core: int, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """A process, from when its port answers."""
    with subprocess.Popen(
        _pinned(command, core),
        env={**programs.environment(), **(environment or {})},
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _await_port(process, port)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")
