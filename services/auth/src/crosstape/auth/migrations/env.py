"""What Alembic runs: the migrations on the connection that `crosstape.auth.prepare` gives, inside its transaction."""

from __future__ import annotations

from alembic import context

from crosstape.auth.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
