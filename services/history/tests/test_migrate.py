"""Migrations: applied once, by any number of processes at a time; edited files refused; every query fits the schema."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files

import msgspec
import pytest

from crosstape.common.errors import DatabaseQueryError, DatabaseTimeout
from crosstape.history.migrate import EditedMigration, Migration, migrate, migrations
from crosstape.history.store import Store, query_text

SAMPLES = {
    "String": "BTC-USDT",
    "Array(String)": ["BTC-USDT"],
    "Array(UInt32)": [60],
    "Array(Tuple(String, String))": [("binance", "BTC-USDT")],
    "Array(Tuple(String, String, UInt32))": [("binance", "BTC-USDT", 60)],
    "Array(Tuple(Int64, String, String, String, String, String))": [(60_000, "1", "2", "0.5", "1.1", "10")],
}
QUERIES = sorted(q.name.removesuffix(".sql") for q in (files("crosstape.history") / "queries").iterdir() if q.is_file())


async def test_applied_files_are_not_applied_again(store: Store) -> None:
    assert await migrate(store) == []


async def test_where_nothing_is_missing_no_statement_waits_for_a_replica_that_is_down(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait_for_all(statement: str) -> None:
        raise DatabaseTimeout(f"a replica has not run: {statement}")

    monkeypatch.setattr(store, "execute", wait_for_all)
    assert await migrate(store, "tape") == []


async def test_ranges_of_candles_that_were_wrongly_called_complete_are_forgotten(store: Store) -> None:
    (forgetting,) = [migration for migration in migrations() if migration.name == "0008_forget_kline_ranges.sql"]
    await store.execute("CREATE TABLE ranges_before ENGINE = MergeTree ORDER BY x AS SELECT 1 AS x")
    for _ in range(2):
        await store.execute(forgetting.statement("").replace("kline_ranges", "ranges_before"))
    assert await store._run(lambda client: client.query("SELECT * FROM ranges_before").result_rows) == []
    await store.execute("DROP TABLE ranges_before")


async def test_several_processes_may_migrate_at_once(store: Store) -> None:
    table = "CREATE TABLE IF NOT EXISTS concurrent (x UInt8) ENGINE = MergeTree ORDER BY x"
    known = [*migrations(), Migration("9998_concurrent.sql", table)]
    applied = await asyncio.gather(*(migrate(store, known=known) for _ in range(4)))
    assert any(applied)
    assert await migrate(store, known=known) == []


async def test_an_edited_file_is_refused(store: Store) -> None:
    original = Migration("9999_edited.sql", "CREATE TABLE IF NOT EXISTS edited (x UInt8) ENGINE = MergeTree ORDER BY x")
    await migrate(store, known=[*migrations(), original])
    with pytest.raises(EditedMigration):
        await migrate(store, known=[*migrations(), msgspec.structs.replace(original, sql=original.sql + " ")])


def test_on_a_cluster_every_table_is_replicated() -> None:
    for migration in migrations():
        statement = migration.statement("main")
        assert "ON CLUSTER 'main'" in statement
        assert ("ENGINE = Replicated" in statement) == ("CREATE TABLE" in statement)


@pytest.mark.parametrize("name", QUERIES)
async def test_every_query_runs_against_the_schema(store: Store, name: str) -> None:
    found = re.findall(r"\{(\w+):((?:[^{}]|\([^)]*\))+)\}", query_text(name))
    parameters = {parameter: SAMPLES.get(kind, 60) for parameter, kind in found}
    if query_text(name).lstrip().startswith("INSERT"):
        await store.command(name, **parameters)
    else:
        await store.rows(name, **parameters)


async def test_a_query_past_its_deadline_is_a_timeout(store_url: str, store: Store) -> None:
    hasty = Store(store_url, threads=1, deadline=0.2)
    try:
        with pytest.raises(DatabaseTimeout) as caught:
            await hasty._run(
                lambda client: client.query("SELECT count() FROM numbers(1e12)", settings={"max_execution_time": 0.2})
            )
    finally:
        await hasty.close()
    assert "numbers" not in caught.value.message


async def test_a_failed_query_tells_nothing_of_ours(store: Store) -> None:
    with pytest.raises(DatabaseQueryError) as caught:
        await store.execute("SELECT secret FROM nowhere")
    assert "nowhere" not in caught.value.message


async def test_threads_never_answer_with_each_other_s_parameters(store_url: str, store: Store) -> None:
    shared = Store(store_url, threads=4, deadline=15.0)

    async def ask(n: int) -> bool:
        [(first,)] = (await shared.rows("open_ids", exchange=f"e{n}", symbols=[f"s{n}"], start=0, end=1)) or [(None,)]
        rows = await shared._run(
            lambda client: client.query("SELECT {n:UInt32}, {s:String}", {"n": n, "s": f"s{n}"}).result_rows
        )
        return first is None and tuple(rows[0]) == (n, f"s{n}")

    try:
        assert all(await asyncio.gather(*map(ask, range(200))))
    finally:
        await shared.close()
