"""The folder that holds a platform's state: its lock, its free space, its logs, and where its processes listen."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from crosstape.cli.errors import DISK_FULL, CliError

LEAST_FREE_BYTES = 512 * 1024 * 1024
_CANNOT_WRITE = (
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENOLCK, errno.EOPNOTSUPP),
)
"""The last two: a file system that has no locks."""
_UNFIT = "#?,"
"""What ends a path in a URL, or a folder's name in a list of them."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One process of a running platform. `url` is empty for what does not speak HTTP."""

    name: str
    pid: int
    port: int
    url: str
    log: str


@dataclass(frozen=True, slots=True)
class Run:
    """What `run.json` says: where everything of a running platform is."""

    pid: int
    mode: str
    gateway_url: str
    history_url: str
    exchange_origin: str
    kafka_bootstrap: str
    redis_url: str
    clickhouse_url: str
    home: str
    processes: list[Listing] = field(default_factory=list)
    dashboard_url: str = ""


class Home:
    """A platform's folder. Every write that fails for lack of space or rights becomes one clear line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().absolute()
        self.run_file = self.directory / "run.json"
        self._lock_file = self.directory / "lock"

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def data(self, name: str) -> Path:
        return self.directory / name

    @property
    def accounts_url(self) -> str:
        """The database of accounts."""
        return f"sqlite:///{self.data('auth') / 'auth.db'}"

    @property
    def secrets(self) -> Path:
        """The folder of `secret`, as services read it by CROSSTAPE_SECRETS_DIR."""
        return self.directory / "secrets"

    def secret(self, name: str) -> str:
        """The secret setting `name` of this platform, from a file that only its owner reads; made at first."""
        return self.kept_secret(name) or self.keep_secret(name, secrets.token_urlsafe(32))

    def kept_secret(self, name: str) -> str:
        """The same, or "" when there is none yet. CliError for an empty file: another secret opens nothing of old."""
        file = self._secret_file(name)
        try:
            text = _read(file)
        except FileNotFoundError:
            return ""
        if not text:
            raise CliError(f"{file} is empty: put back what it held, or remove it and what was kept with it")
        return text

    def keep_secret(self, name: str, text: str) -> str:
        """Write `text` where `secret` finds it, and return it."""
        with explained(self.directory):
            self.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self._secret_file(f".{name}")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600)
            new.write_text(text)
            _flush(new)
            new.replace(self._secret_file(name))
            _flush(self.secrets)
        return text

    def _secret_file(self, name: str) -> Path:
        return self.secrets / f"crosstape_{name}"

    def prepare(self) -> None:
        """Make the folder, and refuse when it cannot be named, cannot be written or the disk is nearly full."""
        if unfit := set(_UNFIT) & set(str(self.directory)):
            raise CliError(
                f"{self.directory} has {' and '.join(sorted(unfit))} in its name, which the databases' addresses and "
                "Kafka's settings cannot hold: choose another with --home or CROSSTAPE_HOME"
            )
        with explained(self.directory):
            self.log("any").parent.mkdir(parents=True, exist_ok=True)
            trial = self.directory / f".write-{os.getpid()}"
            trial.write_bytes(b"x" * 4096)
            trial.unlink()
        free = shutil.disk_usage(self.directory).free
        if free < LEAST_FREE_BYTES:
            raise CliError(
                f"only {free // 2**20} MiB are free on the disk of {self.directory}: "
                f"free at least {LEAST_FREE_BYTES // 2**20} MiB, or choose another folder with --home"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the kernel lets go of it however the process ends.

        What a run that was killed left in `run.json` is of no more use, and goes.
        """
        with contextlib.ExitStack() as held:
            with explained(self.directory):
                lock = held.enter_context(self._lock_file.open("a+"))
                self._take(lock)
            self.remove_run()
            yield

    def _take(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise CliError(
                f"{self.directory} is in use by another run (pid {holder}): "
                "stop it with Ctrl-C, or choose another folder with --home"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()

    @property
    def is_locked(self) -> bool:
        """Whether a supervisor runs on this folder now."""
        try:
            with self._lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def write_run(self, run: Run) -> None:
        """Replace `run.json` in one step."""
        with explained(self.directory):
            new = self.run_file.with_suffix(".new")
            new.write_text(json.dumps(asdict(run), indent=2) + "\n")
            new.replace(self.run_file)

    def remove_run(self) -> None:
        with explained(self.directory):
            self.run_file.unlink(missing_ok=True)

    def read_run(self) -> Run:
        """Where the running platform is. CliError while it is still starting."""
        try:
            content = json.loads(_read(self.run_file))
            return Run(**{**content, "processes": [Listing(**listing) for listing in content["processes"]]})
        except FileNotFoundError:
            raise CliError(f"the platform in {self.directory} is still starting: try again soon") from None
        except (ValueError, KeyError, TypeError):
            raise CliError(f"{self.run_file} cannot be read: stop the platform and start it again") from None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except PermissionError as error:
        raise CliError(f"cannot read {file} ({error.strerror}): run as the user whose platform it is") from None


def _flush(path: Path) -> None:
    """Have the disk hold the file or the folder's names before anything is built on them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn the operating system's refusals about `directory` into one line with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise CliError(
                f"the disk of {directory} is full: free some space, or choose another folder with --home"
            ) from None
        if error.errno in _CANNOT_WRITE:
            raise CliError(
                f"cannot write in {directory} ({error.strerror}): choose another with --home or CROSSTAPE_HOME"
            ) from None
        raise


def usual_homes() -> list[Home]:
    """Where the commands that run a platform keep its state, unless they are told another folder."""
    return [Home(default_directory(name)) for name in ("demo", "live", "replay")]


def default_directory(name: str) -> Path:
    """`$CROSSTAPE_HOME/name`, else `.crosstape/name` under the current folder."""
    return Path(os.environ.get("CROSSTAPE_HOME") or ".crosstape") / name
