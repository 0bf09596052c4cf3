"""Orders found by their owner's name for them, whoever the owner is: an admin's look read every row."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Forward only."""
    op.create_index("ix_orders_order_id_id", "orders", ["order_id", "id"])
