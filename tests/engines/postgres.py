"""PostgreSQL for tests, from the machine's own installation: one server on loopback, a new database for each test."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.probe import Probe
from crosstape.cli.process import Command

OWNER = "crosstape"
_INIT_SECONDS = 60


def missing() -> str:
    """Why there can be no PostgreSQL here; empty when there can."""
    if _binary("initdb") is None:
        return "PostgreSQL is not installed: neither on PATH nor under /usr/lib/postgresql"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and setpriv (util-linux) is missing"
    return ""


@contextmanager
def data_directory() -> Iterator[Path]:
    """A folder that the server's user can reach, which pytest's own are not."""
    # A server that was killed leaves children that may still write for a moment.
    with tempfile.TemporaryDirectory(prefix="crosstape-postgres-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        if os.getuid() == 0:
            user = _unprivileged()
            os.chown(directory, user.pw_uid, user.pw_gid)
        yield directory


def postgres(directory: Path) -> Command:
    """Make a cluster in `directory` and return the command of the server that serves it on a free port."""
    data = directory / "data"
    initializing = subprocess.run(
        (*_as_user(), _required("initdb"), "-D", str(data), "-U", OWNER, "--auth=trust", "--no-sync", "-E", "UTF8"),
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        timeout=_INIT_SECONDS,
    )
    if initializing.returncode:
        raise RuntimeError(f"initdb failed: {initializing.stderr}")
    port = free_port()
    options = {"listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": "", "fsync": "off"}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return Command(
        name="postgres",
        argv=(*_as_user(), _required("postgres"), "-D", str(data), *words),
        ready=probe(port),
        port=port,
        is_isolated=True,
    )


async def create_database(port: int, name: str) -> str:
    """A new, empty database; its URL."""
    connection = await asyncpg.connect(host=LOOPBACK, port=port, user=OWNER, database="postgres")
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return f"postgresql://{OWNER}@{LOOPBACK}:{port}/{name}"


def probe(port: int) -> Probe:
    """Ready when it takes a connection."""

    async def answers() -> str:
        try:
            connection = await asyncpg.connect(host=LOOPBACK, port=port, user=OWNER, database="postgres", timeout=2)
        except asyncpg.PostgresError as error:
            return str(error)
        await connection.close()
        return ""

    return answers


def _as_user() -> tuple[str, ...]:
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return ()
    user = _unprivileged()
    # The change of user makes the kernel forget that it should end with its parent: setpriv says so again.
    identity = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=KILL")
    return (str(shutil.which("setpriv")), *identity, "--")


def _unprivileged() -> pwd.struct_passwd:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _required(name: str) -> str:
    found = _binary(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return found


def _binary(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(installed[-1]) if installed else None)
