"""The sink: the bus's trades and ledger into the store, and bars out of the store."""
