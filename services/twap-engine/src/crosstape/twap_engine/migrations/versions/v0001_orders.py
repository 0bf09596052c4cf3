"""Orders, their slices and fills, what was taken from books, replicas, and events not yet told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Forward only."""
    op.create_table(
        "orders",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("order_id", sa.String(64), nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("canonical", sa.String(64), nullable=False),
        sa.Column("exchange", sa.String(64), nullable=False),
        sa.Column("markets", sa.Text, nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("total_quantity", sa.Text, nullable=False),
        sa.Column("limit_price", sa.Text, nullable=False),
        sa.Column("duration", sa.Integer, nullable=False),
        sa.Column("interval", sa.Integer, nullable=False),
        sa.Column("lot", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("close_reason", sa.String(9)),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("next_slice", sa.Integer, nullable=False),
        sa.Column("slices_run", sa.Integer, nullable=False),
        sa.Column("filled", sa.Text, nullable=False),
        sa.Column("notional", sa.Text, nullable=False),
        sa.Column("fees", sa.Text, nullable=False),
        sa.Column("arrival_price", sa.Text),
        sa.Column("mid_time", sa.Text, nullable=False),
        sa.Column("mid_seconds", sa.Text, nullable=False),
        sa.Column("traded_notional", sa.Text, nullable=False),
        sa.Column("traded_volume", sa.Text, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("user_id", "order_id"),
    )
    op.create_index("ix_orders_status_owner", "orders", ["status", "owner"])
    op.create_index("ix_orders_user_id_id", "orders", ["user_id", "id"])
    op.create_table(
        "slices",
        sa.Column("parent", _ID, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("filled", sa.Text, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("mid_price", sa.Text),
        sa.Column("mid_time", sa.Text, nullable=False),
        sa.Column("mid_seconds", sa.Text, nullable=False),
        sa.Column("traded_notional", sa.Text, nullable=False),
        sa.Column("traded_volume", sa.Text, nullable=False),
    )
    op.create_table(
        "fills",
        sa.Column("parent", _ID, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("slice", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("exchange", sa.String(64), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("price", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("fee", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("book_hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "sent",
        sa.Column("parent", _ID, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("exchange", sa.String(64), nullable=False),
        sa.Column("symbol", sa.String(64), nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("limit_price", sa.Text, nullable=False),
        sa.Column("reserved", sa.Text, nullable=False),
        sa.Column("mid_price", sa.Text),
    )
    op.create_table(
        "liquidity",
        sa.Column("side_of_market", sa.String(140), primary_key=True),
        sa.Column("entries", sa.Text, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "daily_notional",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("notional", sa.Text, nullable=False),
    )
