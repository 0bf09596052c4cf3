"""Makes the archive of Kafka's classes that halves the time of its start: Java writes it when a node that ran ends.

python -m crosstape.cli.kafka_archive      make it when there is none, as the Makefile does after installing
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from crosstape.cli import kafka_jars, kafka_node, probe
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, Process

READY_SECONDS, WRITTEN_SECONDS = 60.0, 60.0


def make() -> None:
    """Run a node once and keep what Java wrote. Raises CliError, or OSError, when that cannot be done."""
    archive = kafka_jars.archive()
    if archive.exists():
        return
    for old in kafka_jars.FOLDER.glob("classes-*.aot"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=kafka_jars.FOLDER) as scratch:
        new = Path(scratch) / "new.aot"
        asyncio.run(_run_once(Path(scratch), new))
        new.rename(archive)


async def _run_once(folder: Path, archive: Path) -> None:
    port, config = free_port(), folder / "server.properties"
    config.write_text(kafka_node.properties(port, free_port(), folder / "data"))
    kafka_node.prepare(folder / "data", config)
    options = (*kafka_node.ARCHIVED, f"-XX:AOTCacheOutput={archive}", f"-Djava.io.tmpdir={folder}")
    command = Command(
        name="kafka",
        argv=kafka_node.java(*options, "kafka.Kafka", str(config)),
        ready=probe.kafka(LOOPBACK, port),
        port=port,
        is_isolated=True,
    )
    process = Process(command, folder / "kafka.log")
    process.start()
    try:
        await process.wait_ready(READY_SECONDS)
    finally:
        is_whole = await process.stop(WRITTEN_SECONDS)
    if not is_whole:
        raise CliError(f"Java did not write it in {WRITTEN_SECONDS:.0f} s")


def main() -> None:
    try:
        make()
    except (CliError, OSError) as error:  # without it a start is slow, and no more
        sys.stderr.write(f"no archive of Apache Kafka's classes could be made: {error}\n")


if __name__ == "__main__":
    main()
