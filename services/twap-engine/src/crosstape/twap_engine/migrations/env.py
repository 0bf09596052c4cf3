"""What Alembic runs: the migrations on the connection that `store.migrate` gives, inside its transaction."""

from __future__ import annotations

from alembic import context

from crosstape.twap_engine.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
