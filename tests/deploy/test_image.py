"""The image: what hadolint says, what is left out, and that the wheels hold all that runs from the source tree."""

import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.deploy.containers import Container, all_containers
from tests.deploy.tools import ROOT, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_dockerfile_is_clean() -> None:
    run("hadolint", "Dockerfile")


def test_a_bad_dockerfile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /opt\n")
    with pytest.raises(AssertionError, match="DL3006"):
        run("hadolint", str(tmp_path / "Dockerfile"))


def test_image_runs_as_a_numbered_user_from_hashed_locks() -> None:
    lines = DOCKERFILE.splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user == "10001:10001"
    assert DOCKERFILE.count("--require-hashes") == 2
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert len(bases) == 1, "what is built on one Python runs on the same"


def test_everything_that_is_copied_reaches_the_engine() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    for source in [word for words in copied for word in words]:
        assert (ROOT / source).exists()
        assert any(source == path or source.startswith(f"{path}/") for path in kept), source


def test_what_is_left_out_is_in_the_lock_and_needed_by_no_server_engine() -> None:
    excluded = {
        line for line in (ROOT / "deploy/image/excludes.txt").read_text().splitlines() if not line.startswith("#")
    }
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert excluded <= locked, "a name that is not in the lock leaves nothing out"
    for member in ("common", "stream-hub", "twap-engine", "auth", "api-gateway", "ingestor"):
        needed = {Requirement(text).name for text in requires(f"crosstape-{member}") or ()}
        assert not needed & excluded, member


def test_wheels_hold_every_file_that_the_source_tree_has(tmp_path: Path) -> None:
    build = [
        str(Path(sys.executable).with_name("uv")),
        "build",
        "--quiet",
        "--wheel",
        "--all-packages",
        "--no-build-isolation",
        "--offline",
    ]
    done = subprocess.run(
        [*build, "--python", sys.executable, "--out-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    packed = {name for wheel in tmp_path.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()}
    for source in ROOT.glob("*/*/src"):
        for path in source.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(source)) in packed


@pytest.mark.parametrize("container", all_containers(), ids=str)
def test_commands_exist_in_the_image(container: Container) -> None:
    command = container.command
    if command[:2] == ("python", "-m"):
        assert list(ROOT.glob(f"services/*/src/{command[2].replace('.', '/')}/__main__.py"))
    else:
        scripts = [path.read_text() for path in ROOT.glob("clients/*/pyproject.toml")]
        assert any(f"\n{command[0]} = " in text for text in scripts), f"no member has the script {command[0]}"
