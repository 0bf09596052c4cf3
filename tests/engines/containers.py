"""The same engines from the images of docker-compose.yml, by CROSSTAPE_TEST_ENGINES=containers, where Docker answers.

A container has the methods of a process that the fixtures use. Images and versions are those of the compose file; what
differs is that each has a port of its own on loopback, and no password.
"""

import asyncio
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from crosstape.cli.ports import LOOPBACK
from crosstape.cli.probe import Probe

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

PROFILE = "CROSSTAPE_TEST_ENGINES"
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"

_POLL_SECONDS = 0.1


def are_wanted() -> bool:
    """Whether the tests run on containers. Raises ValueError when the variable is neither empty nor `containers`."""
    profile = os.environ.get(PROFILE, "")
    if profile not in ("", "containers"):
        raise ValueError(f"{PROFILE} is {profile!r}: leave it empty, or say containers")
    return bool(profile)


@cache
def missing() -> str:
    """Why there can be no container here; empty when there can."""
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    try:
        DockerClient().client.ping()
    except (DockerException, OSError) as error:
        return f"{PROFILE}=containers, but no Docker engine answers: {error}"
    return ""


def image(service: str) -> str:
    """The image of one of the compose file's services."""
    found: str = _services()[service]["image"]
    return found


def environment(service: str) -> dict[str, str]:
    """Its variables, without those that are for files of secrets."""
    return {name: value for name, value in _services()[service]["environment"].items() if not name.endswith("_FILE")}


@cache
def _services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    return loaded


class Container:
    """One engine on loopback's `port`, which is its own `inner_port`. `ready` tells when it answers."""

    pid = 0
    """Its processes are the Docker engine's, not ours."""

    def __init__(
        self, service: str, port: int, inner_port: int, ready: Probe, variables: dict[str, str], command: str = ""
    ):
        self._ready = ready
        self._variables = variables
        self._command = command
        self._image = image(service)
        self._ports: dict[str, Any] = {f"{inner_port}/tcp": (LOOPBACK, port)}
        self._container: DockerContainer | None = None
        self.log = Path("docker-logs", service)

    def start(self) -> None:
        """Begin, with an empty store the first time, with what is there afterwards."""
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        if self._container is not None:
            self._container.get_wrapped_container().start()
            return
        testcontainers_config.ryuk_disabled = True  # one more image; the fixtures remove what they start
        container = DockerContainer(self._image).with_envs(**self._variables)
        container.ports = self._ports
        if self._command:
            container = container.with_command(self._command)
        self._container = container.start()

    async def wait_ready(self, timeout: float) -> None:
        """Return when it answers; raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not await self._is_ready():
                await asyncio.sleep(_POLL_SECONDS)

    async def _is_ready(self) -> bool:
        try:
            return not await self._ready()
        except (OSError, TimeoutError):
            return False

    def kill(self) -> None:
        """kill -9."""
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    async def stop(self, timeout: float) -> bool:
        """End it in order; what it stored stays."""
        if self._container is not None:
            await asyncio.to_thread(self._container.get_wrapped_container().stop, timeout=int(timeout))
        return True

    def remove(self) -> None:
        """End it, and forget what it stored."""
        if self._container is not None:
            self._container.stop()
            self._container = None
