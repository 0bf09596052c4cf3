"""GET for commands that run once: the standard library's client, so that `crosstape` starts quickly."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from crosstape.cli.errors import CliError

TIMEOUT_SECONDS = 10.0


@contextmanager
def get(origin: str, path: str, timeout: float = TIMEOUT_SECONDS) -> Iterator[HTTPResponse]:
    """The answer to GET `origin` + `path`, whatever its status. CliError when there is none."""
    address = urlsplit(origin)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    try:
        connection.request("GET", path)
        yield connection.getresponse()
    except (OSError, HTTPException) as error:
        raise CliError(f"{origin} does not answer ({error}): see crosstape doctor") from None
    finally:
        connection.close()


def get_json(origin: str, path: str, timeout: float = TIMEOUT_SECONDS) -> Any:
    """The decoded body of a 200. CliError with the server's own words for every other answer."""
    with get(origin, path, timeout) as response:
        body = response.read()
        if response.status != 200:
            raise CliError(refusal(response.status, body))
    try:
        return json.loads(body)
    except ValueError:
        raise CliError(f"{origin}{path} answered with something that is not JSON") from None


def refusal(status: int, body: bytes) -> str:
    """The one line of an error answer: the platform's `message`, where the body has one."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    message = content.get("message") if isinstance(content, dict) else None
    return f"{message} (HTTP {status})" if message else f"the service answered HTTP {status}"
