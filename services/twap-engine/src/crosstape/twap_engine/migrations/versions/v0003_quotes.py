"""Real orders: spending by quote, what was really paid, ids of their own; and open orders counted by account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Forward only. Replicas of before can send nothing more to exchanges: what they spend could not be told apart."""
    op.add_column("fills", sa.Column("cost", sa.Text))
    op.add_column("sent", sa.Column("client_order_id", sa.String(32)))
    op.create_index("ix_orders_user_id_status", "orders", ["user_id", "status"])
    spent = op.get_bind().execute(sa.text("SELECT day, notional FROM daily_notional")).all()
    op.drop_table("daily_notional")
    daily_notional = op.create_table(
        "daily_notional",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("quote", sa.String(64), primary_key=True),
        sa.Column("notional", sa.Text, nullable=False),
    )
    op.bulk_insert(daily_notional, [{"day": row.day, "quote": "", "notional": row.notional} for row in spent])
