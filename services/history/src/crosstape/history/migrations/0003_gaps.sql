-- Holes in the tape, the newest state of each. Without ids (an interval without a connection) first_id is -1.
CREATE TABLE IF NOT EXISTS gaps $on_cluster
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    first_id Int64,
    last_id Int64,
    start DateTime64(9, 'UTC'),
    end DateTime64(9, 'UTC'),
    cause LowCardinality(String),
    state LowCardinality(String),
    trades UInt64,
    time DateTime64(9, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree(time)
ORDER BY (exchange, symbol, first_id, last_id, start)
