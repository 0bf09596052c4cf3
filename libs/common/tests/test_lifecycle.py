"""The whole life of a process: it serves, drains when told, and ends with one line when something is wrong."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crosstape.common.runtime.lifecycle import listen
from crosstape.common.runtime.process import FILES

pytestmark = pytest.mark.integration

PATIENCE = 30.0


class Service:
    """A process of service_under_test.py, begun by `shell`; its log lines are read as they come."""

    def __init__(self, work: str, shell: str = 'exec "$@"', **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CROSSTAPE_")}
        self.process = subprocess.Popen(
            ["sh", "-c", shell, "sh", sys.executable, str(Path(__file__).with_name("service_under_test.py")), work],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean | {f"CROSSTAPE_{name.upper()}": value for name, value in environment.items()},
        )
        self.lines: list[dict[str, Any]] = []

    def wait_for(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"no {event!r} in {self.lines}")

    def get(self, path: str) -> tuple[int, bytes]:
        port = next(line["port"] for line in self.lines if line["event"] == "serving")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self) -> tuple[int, str]:
        """Exit code and standard output; what was logged meanwhile is in `lines`."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.lines += [json.loads(line) for line in err.splitlines()]
        return self.process.returncode, out

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    services: list[Service] = []

    def start_one(work: str, **environment: str) -> Service:
        services.append(Service(work, **environment))
        return services[-1]

    yield start_one
    for service in services:
        service.process.kill()
        service.process.communicate()


def test_a_service_answers_its_operators_and_exits_0_after_sigterm(start: Start) -> None:
    service = start("idle")
    service.wait_for("serving")
    assert service.get("/livez") == (200, b'{"status":"ok"}')
    assert service.get("/readyz") == (200, b'{"status":"ready","checks":{}}')
    status, metrics = service.get("/metrics")
    assert (status, b"python_info" in metrics) == (200, True)
    assert service.get("/nowhere")[0] == 404
    service.process.terminate()
    assert service.end()[0] == 0
    assert service.events() == ["serving", "draining", "stopped"]
    assert all(line["service"] == "under-test" and line["level"] == "info" for line in service.lines)


def test_a_service_may_have_more_files_open_than_a_shell_allows(start: Start) -> None:
    service = start("idle", shell='ulimit -Sn 256 && exec "$@"')
    service.wait_for("serving")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)[0] == min(FILES, most)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_finishes_after_a_signal_and_meanwhile_the_port_answers_not_ready(start: Start, number: int) -> None:
    service = start("drains")
    service.wait_for("serving")
    service.process.send_signal(number)
    service.wait_for("draining")
    assert service.get("/readyz")[0] == 503
    assert service.get("/livez")[0] == 200
    service.process.send_signal(signal.SIGUSR1)
    assert service.end() == (0, "work finished\n")


def test_a_request_under_way_at_a_signal_is_answered_before_anything_is_closed(start: Start) -> None:
    service = start("holds")
    port = service.wait_for("serving")["port"]
    assert service.process.stdout is not None
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(service.get, "/held")
        assert service.process.stdout.readline() == "held\n"
        service.process.terminate()
        deadline = time.monotonic() + PATIENCE
        while is_listening(port) and time.monotonic() < deadline:  # as long as there is work
            time.sleep(0.01)
        service.process.send_signal(signal.SIGUSR1)
        assert answer.result(PATIENCE) == (200, b"answered")
    assert service.end() == (0, "answered\nclosed\n")


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("localhost", socket.AF_INET),
        ("", socket.AF_INET),
        pytest.param("::1", socket.AF_INET6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
        pytest.param("::", socket.AF_INET6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    ],
)
def test_a_service_listens_on_addresses_of_both_kinds(host: str, family: socket.AddressFamily) -> None:
    with listen(host, 0) as listener:
        assert listener.family == family


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = socket.socket

    def apart(*kind: int) -> socket.socket:
        """As where /proc/sys/net/ipv6/bindv6only is 1."""
        made = plain(*kind)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "socket", apart)
        listener = listen("::", 0)
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=PATIENCE):
        pass


def test_a_busy_port_gives_one_line_and_exit_1(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = start("idle", port=str(taken.getsockname()[1]))
        assert service.end()[0] == 1
    assert service.events() == ["port_unavailable"]
    assert service.lines[0]["level"] == "error"


def test_a_port_belongs_to_a_service_from_its_first_moment(start: Start, free_port: int) -> None:
    port = str(free_port)
    first = start("build_waits", port=port)
    assert first.process.stdout is not None
    assert first.process.stdout.readline() == "building\n"
    second = start("idle", port=port)
    assert second.end()[0] == 1
    assert second.events() == ["port_unavailable"]


@pytest.mark.parametrize(
    ("work", "reason"),
    [("fails", "the work is wrong"), ("build_fails", "the build is wrong"), ("lifespan_fails", "no lifespan")],
)
def test_a_part_that_fails_ends_the_process_with_exit_1_and_says_why(start: Start, work: str, reason: str) -> None:
    service = start(work)
    assert service.end()[0] == 1
    errors = [line for line in service.lines if line["event"] == "process_failed"]
    assert len(errors) == 1
    assert reason in json.dumps(service.lines)
    assert "Traceback" in errors[0]["exception"]
    assert "stopped" not in service.events()


def test_what_an_operator_must_change_is_one_sentence_even_if_several_parts_need_it(start: Start) -> None:
    service = start("is_refused")
    assert service.end()[0] == 1
    errors = [line for line in service.lines if line["level"] == "error"]
    assert [(line["event"], line["reason"]) for line in errors] == [
        ("process_failed", "the broker does not let the first in")
    ]
    assert "exception" not in errors[0]


def test_work_that_ends_by_itself_ends_the_process(start: Start) -> None:
    service = start("ends")
    assert service.end()[0] == 0
    assert service.events()[-1] == "stopped"


def test_work_that_overruns_its_drain_is_cut_at_the_deadline(start: Start) -> None:
    service = start("overruns", shutdown_seconds="1")
    service.wait_for("serving")
    started = time.monotonic()
    service.process.terminate()
    assert service.end()[0] == 0
    assert 1 <= time.monotonic() - started < 10
    assert "drain_overran" in service.events()


def test_a_service_can_be_stopped_while_it_still_builds(start: Start) -> None:
    service = start("build_waits")
    assert service.process.stdout is not None
    assert service.process.stdout.readline() == "building\n"
    service.process.terminate()
    assert service.end()[0] == 0
    assert service.events() == ["stopped"]


def test_an_open_connection_does_not_hold_up_the_end(start: Start) -> None:
    service = start("idle", shutdown_seconds="20")
    port = service.wait_for("serving")["port"]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        told = time.monotonic()
        service.process.terminate()
        assert service.end()[0] == 0
        assert time.monotonic() - told < 10
