"""One log format: JSON lines that nothing can break."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

SCRIPT = """
import logging, structlog, threading
from crosstape.common.runtime.logging import configure_logging
configure_logging("s", level="info", log_format="{format}")
log = structlog.get_logger("x")
log.debug("hidden")
log.info("shown", what=object, text="a\\nb")
log.warning("odd", path="\\ud800")
try:
    password = "hunter2".upper()
    raise ValueError("inner \\ud800")
except ValueError as error:
    log.error("failed", exc_info=error)
logging.getLogger("aiohttp").info("hidden")
logging.getLogger("aiohttp").warning("from %s", "a library")
logging.getLogger("urllib3.connectionpool").warning("Retrying")
logging.getLogger("clickhouse_connect.driver.httpclient").warning("Unexpected Http Driver Exception")
thread = threading.Thread(target=log.info, args=("from a thread",))
thread.start()
thread.join()
"""


def run(log_format: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(format=log_format)],
        capture_output=True,
        check=True,
        text=True,
    )
    return result.stderr.splitlines()


def test_every_line_is_json_with_service_level_and_time_whoever_logs() -> None:
    lines = [json.loads(line) for line in run("json")]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "shown"),
        ("warning", "odd"),
        ("error", "failed"),
        ("warning", "from a library"),
        ("info", "from a thread"),
    ]
    assert all(line["service"] == "s" and line["timestamp"].endswith("Z") for line in lines)
    assert "ValueError: inner" in lines[2]["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_variable_of_what_failed_is_shown(log_format: str) -> None:
    text = "\n".join(run(log_format))
    assert "ValueError: inner" in text
    assert "HUNTER2" not in text


def test_lines_for_people_show_the_same() -> None:
    text = "\n".join(run("console"))
    assert all(word in text for word in ("shown", "odd", "failed", "from a library"))
    assert "hidden" not in text
