"""Many rows in one statement, at the driver's speed: SQLAlchemy compiles it once and looks at no row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert, Update


class Bulk:
    """A statement whose rows are tuples of the values named by `columns`, in that order."""

    def __init__(self, statement: Insert | Update, columns: Sequence[str]):
        self._statement = statement
        self._columns = list(columns)
        self._compiled: dict[str, tuple[str, list[int]]] = {}

    async def execute(self, connection: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run it for `rows`, if there are any."""
        if not rows:
            return
        sql, order = self._for(connection)
        await connection.exec_driver_sql(sql, [tuple([row[place] for place in order]) for row in rows])

    def _for(self, connection: AsyncConnection) -> tuple[str, list[int]]:
        """The statement in the dialect's words, and which value stands at each of its places."""
        dialect = connection.dialect
        if (known := self._compiled.get(dialect.name)) is None:
            inserted = self._columns if isinstance(self._statement, Insert) else None
            compiled = self._statement.compile(dialect=dialect, column_keys=inserted)
            order = [self._columns.index(name) for name in compiled.positiontup or ()]
            known = self._compiled[dialect.name] = (str(compiled), order)
        return known
