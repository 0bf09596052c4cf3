"""The tables. Quantities and prices are decimal text, exact; times are UTC in ns."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
"""What the migrations must amount to; a test compares them."""

_Id = BigInteger().with_variant(Integer, "sqlite")

orders = Table(
    "orders",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("user_id", String(64), nullable=False),
    Column("username", String(64), nullable=False),
    Column("username_key", String(255), nullable=False),
    Column("order_id", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("symbol", String(64), nullable=False),
    Column("canonical", String(64), nullable=False),
    Column("exchange", String(64), nullable=False),
    Column("markets", Text, nullable=False),
    Column("side", String(4), nullable=False),
    Column("total_quantity", Text, nullable=False),
    Column("limit_price", Text, nullable=False),
    Column("duration", Integer, nullable=False),
    Column("interval", Integer, nullable=False),
    Column("lot", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("warnings", Text, nullable=False),
    Column("status", String(9), nullable=False),
    Column("close_reason", String(9)),
    Column("closed_at", BigInteger),
    Column("next_slice", Integer, nullable=False),
    Column("slices_run", Integer, nullable=False),
    Column("filled", Text, nullable=False),
    Column("notional", Text, nullable=False),
    Column("fees", Text, nullable=False),
    Column("arrival_price", Text),
    Column("mid_time", Text, nullable=False),
    Column("mid_seconds", Text, nullable=False),
    Column("traded_notional", Text, nullable=False),
    Column("traded_volume", Text, nullable=False),
    Column("events", Integer, nullable=False),
    Column("owner", String(32)),
    Column("token", BigInteger, nullable=False),
    UniqueConstraint("user_id", "order_id"),
    Index("ix_orders_status_owner", "status", "owner"),
    Index("ix_orders_user_id_id", "user_id", "id"),
    Index("ix_orders_user_id_status", "user_id", "status"),
    Index("ix_orders_username_key_id", "username_key", "id"),
    Index("ix_orders_order_id_id", "order_id", "id"),
)

slices = Table(
    "slices",
    metadata,
    Column("parent", _Id, ForeignKey("orders.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("due", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("quantity", Text, nullable=False),
    Column("filled", Text, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("mid_price", Text),
    Column("mid_time", Text, nullable=False),
    Column("mid_seconds", Text, nullable=False),
    Column("traded_notional", Text, nullable=False),
    Column("traded_volume", Text, nullable=False),
)
"""Slices that ran. A number twice is impossible, whatever goes wrong."""

fills = Table(
    "fills",
    metadata,
    Column("parent", _Id, ForeignKey("orders.id"), primary_key=True),
    Column("slice", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("exchange", String(64), nullable=False),
    Column("symbol", String(64), nullable=False),
    Column("price", Text, nullable=False),
    Column("quantity", Text, nullable=False),
    Column("fee", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("book_hash", String(64), nullable=False),
    Column("cost", Text),
)

sent = Table(
    "sent",
    metadata,
    Column("parent", _Id, ForeignKey("orders.id"), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("exchange", String(64), nullable=False),
    Column("symbol", String(64), nullable=False),
    Column("quantity", Text, nullable=False),
    Column("limit_price", Text, nullable=False),
    Column("reserved", Text, nullable=False),
    Column("mid_price", Text),
    Column("client_order_id", String(32)),
)
"""Slices on their way to a real exchange, of which it is not known yet what became of them: at most one an order."""

liquidity = Table(
    "liquidity",
    metadata,
    Column("side_of_market", String(140), primary_key=True),
    Column("entries", Text, nullable=False),
)
"""What was taken from each level (`liquidity.Taken` by price); whoever fills holds the row locked."""

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("beat", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("events", LargeBinary, nullable=False),
)
"""Events to be told, a row for each order and transaction: a MessagePack list of OrderEvent."""

daily_notional = Table(
    "daily_notional",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("quote", String(64), primary_key=True),
    Column("notional", Text, nullable=False),
)
"""What was sent to real exchanges on each UTC day, in each quote."""
