"""Our own containers, of the compose file and of the Kubernetes overlays, in one form."""

from dataclasses import dataclass
from typing import Any

from tests.deploy.tools import OVERLAYS, compose, of_kind

SECRETS_VARIABLE = "CROSSTAPE_SECRETS_DIR"


@dataclass(frozen=True)
class Container:
    """`where` it is described, its command, its variables, and the secrets it finds as files named as variables.

    `files` are other keys of Secrets, (secret, key) by the path that each has in it. `ports` are those it says it
    listens on, by name; `shared` the variables that it takes from a set for several.
    """

    where: str
    name: str
    command: tuple[str, ...]
    own: dict[str, str]
    shared: dict[str, str]
    secrets_folder: str
    secrets: frozenset[str]
    files: dict[str, tuple[str, str]]
    ports: dict[str, int]

    @property
    def module(self) -> str:
        """What `python -m` runs; empty for a program that is no service."""
        return self.command[2] if self.command[:2] == ("python", "-m") else ""

    @property
    def options(self) -> dict[str, str]:
        """The `--name=value` words of a command."""
        return dict(word.removeprefix("--").split("=", 1) for word in self.command if word.startswith("--"))

    @property
    def environment(self) -> dict[str, str]:
        return {**self.shared, **self.own}

    def __str__(self) -> str:
        return f"{self.where}-{self.name}"


def is_ours(image: str) -> bool:
    """Whether it is the image that the Dockerfile makes."""
    return image.rpartition(":")[0].rpartition("/")[2] == "crosstape"


def all_containers() -> list[Container]:
    """Each of ours, everywhere."""
    return [*compose_containers(), *(container for name in OVERLAYS for container in pods(name))]


def compose_containers() -> list[Container]:
    """Those of docker-compose.yml."""
    return [
        Container(
            where="compose",
            name=name,
            command=tuple(service["command"]),
            own=service.get("environment", {}),
            shared={},
            secrets_folder="/run/secrets",
            secrets=frozenset(secret["target"] for secret in service.get("secrets", ())),
            files={},
            ports={str(port["target"]): port["target"] for port in service.get("ports", ())},
        )
        for name, service in compose()["services"].items()
        if is_ours(service["image"])
    ]


def deployments(name: str) -> list[dict[str, Any]]:
    """Deployments of our image."""
    return [
        resource
        for resource in of_kind(name, "Deployment")
        if is_ours(resource["spec"]["template"]["spec"]["containers"][0]["image"])
    ]


def pods(name: str) -> list[Container]:
    """Those of one overlay."""
    maps = {resource["metadata"]["name"]: resource["data"] for resource in of_kind(name, "ConfigMap")}
    return [_container(name, deployment, maps) for deployment in deployments(name)]


def _container(overlay: str, deployment: dict[str, Any], maps: dict[str, dict[str, str]]) -> Container:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folders = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    projected = [volume for volume in pod["volumes"] if "projected" in volume]
    shared: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        shared |= maps[source["configMapRef"]["name"]]
    return Container(
        where=overlay,
        name=deployment["metadata"]["name"],
        command=tuple(container["command"]),
        own={entry["name"]: _value(entry, maps) for entry in container.get("env", ())},
        shared=shared,
        secrets_folder=folders[projected[0]["name"]] if projected else "",
        secrets=frozenset(
            item["path"]
            for volume in projected
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        ),
        files={
            f"{folders[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
            for volume in pod["volumes"]
            for item in volume.get("secret", {}).get("items", ())
        },
        ports={port["name"]: port["containerPort"] for port in container["ports"]},
    )


def _value(entry: dict[str, Any], maps: dict[str, dict[str, str]]) -> str:
    if "value" in entry:
        return str(entry["value"])
    reference = entry["valueFrom"]["configMapKeyRef"]
    return maps[reference["name"]][reference["key"]]
