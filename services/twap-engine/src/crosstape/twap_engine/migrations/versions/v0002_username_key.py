"""What is unique of an order's username, so that orders are found by it in every spelling."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crosstape.common.identity.usernames import username_key

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Forward only. The default is for replicas of before, which may still insert."""
    op.add_column("orders", sa.Column("username_key", sa.String(255), nullable=False, server_default=""))
    keys = sa.Table(
        "username_keys",
        sa.MetaData(),
        sa.Column("username", sa.String(64), primary_key=True),
        sa.Column("username_key", sa.String(255), nullable=False),
        prefixes=["TEMPORARY"],
    )
    orders = sa.table("orders", sa.column("username"), sa.column("username_key"))
    connection = op.get_bind()
    keys.create(connection)
    names = connection.scalars(sa.select(orders.c.username).distinct()).all()
    op.bulk_insert(keys, [{"username": name, "username_key": username_key(name)} for name in names])
    key = sa.select(keys.c.username_key).where(keys.c.username == orders.c.username).scalar_subquery()
    connection.execute(sa.update(orders).values(username_key=key))
    keys.drop(connection)
    op.create_index("ix_orders_username_key_id", "orders", ["username_key", "id"])
