"""The ids of deleted accounts: one that is merely unknown, as all are to an empty database, is not deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Forward only."""
    op.create_table("deleted_users", sa.Column("id", sa.String(36), primary_key=True))
