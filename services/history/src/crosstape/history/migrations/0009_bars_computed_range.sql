-- Which bars were stored last is asked at every start and rebalance: without this each reads when every bar there is was
-- computed. Parts from before get it with their next merge.
ALTER TABLE bars $on_cluster ADD INDEX IF NOT EXISTS computed_range computed_at TYPE minmax GRANULARITY 1
