"""What the quick run leaves out, what one worker runs, and that no example has a deadline."""

from __future__ import annotations

import ast

import pytest
from hypothesis import settings

from tests.collection import (
    ENGINES,
    FOLDERS,
    HERE,
    ONE_PLATFORM,
    PLATFORM_SECONDS,
    OnePlatformOneWorker,
    pytest_collection_modifyitems,
)


def test_no_example_has_a_deadline() -> None:
    """Of a machine that others use too. What is decorated before it is lifted would keep its own."""
    assert settings.default is not None and settings.default.deadline is None


def test_every_fixture_that_starts_an_engine_marks_who_asks_for_it() -> None:
    defined = ast.parse((HERE / "engines" / "plugin.py").read_text()).body
    asks = {
        function.name: {argument.arg for argument in function.args.args}
        for function in defined
        if isinstance(function, ast.FunctionDef)
        and any("fixture" in ast.unparse(one) for one in function.decorator_list)
    }
    assert asks.keys() >= ENGINES
    assert {name for name, others in asks.items() if name not in ENGINES and not others & ENGINES} == {"free_port"}


@pytest.mark.parametrize("folder", [folder for folder, mark in FOLDERS.items() if mark == "e2e"])
def test_what_the_quick_run_does_not_even_import_is_marked_so(folder: str) -> None:
    files = [*(HERE / folder).rglob("test_*.py")]
    assert files
    assert [file for file in files if "pytest.mark.e2e" not in file.read_text()] == []


def test_files_that_share_a_platform_go_to_one_worker_and_others_do_not() -> None:
    scope = OnePlatformOneWorker.__new__(OnePlatformOneWorker)._split_scope
    assert scope("tests/e2e/one_door/test_account.py::test_a") == scope("tests/e2e/one_door/test_hostile.py::test_a")
    assert scope("tests/browser/test_dashboard.py::test_a") == scope("tests/test_demo.py::test_a")
    assert [name for name in ONE_PLATFORM if not list(HERE.parent.glob(f"{name}*"))] == []
    assert scope("tests/e2e/test_faults.py::test_a[0]") == "tests/e2e/test_faults.py"


@pytest.mark.parametrize(("own", "expected"), [([], PLATFORM_SECONDS), ([pytest.mark.timeout(900)], 900)])
def test_who_starts_a_platform_has_the_time_for_it_that_others_say_themselves(
    request: pytest.FixtureRequest, own: list[pytest.MarkDecorator], expected: int
) -> None:
    item = pytest.Function.from_parent(request.node.parent, name="a", callobj=lambda: None)
    for mark in (pytest.mark.e2e, *own):
        item.add_marker(mark)
    pytest_collection_modifyitems([item])
    told = item.get_closest_marker("timeout")
    assert told is not None and told.args == (expected,)
