"""A short deadline for the statements of a database."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def shorten(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A statement of PostgreSQL may take so long; connecting takes what it takes on a busy machine."""

    def opened(url: Any, *, connect_args: dict[str, Any], **options: Any) -> AsyncEngine:
        return create_async_engine(url, connect_args=connect_args | {"timeout": 60.0}, **options)

    monkeypatch.setattr("crosstape.common.sql.DEADLINE_SECONDS", seconds)
    monkeypatch.setattr("crosstape.common.sql.create_async_engine", opened)
