"""GET for commands that run once: the standard library's client, so that `crosstape` starts quickly."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from crosstape.cli.errors import CliError

TIMEOUT_SECONDS = 10.0


@contextmanager
def get(
    origin: str, path: str, timeout: float = TIMEOUT_SECONDS, headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    """The answer to GET `origin` + `path`, whatever its status. CliError when there is none."""
    with _request("GET", origin, path, timeout, headers or {}, None) as response:
        yield response


@contextmanager
def _request(
    method: str, origin: str, path: str, timeout: float, headers: Mapping[str, str], body: bytes | None
) -> Iterator[HTTPResponse]:
    address = urlsplit(origin)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        yield connection.getresponse()
    except (OSError, HTTPException) as error:
        raise CliError(f"{origin} does not answer ({error}): see crosstape doctor") from None
    finally:
        connection.close()


def ask_json(origin: str, path: str, *, method: str = "GET", body: object = None, token: str = "") -> Any:
    """The decoded body of a success. CliError with the server's own words for every other answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    sent = None if body is None else json.dumps(body).encode()
    with _request(method, origin, path, TIMEOUT_SECONDS, headers, sent) as response:
        answer = response.read()
        if response.status >= 300:
            raise CliError(refusal(response.status, answer))
    try:
        return json.loads(answer)
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
