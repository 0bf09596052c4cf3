-- Intervals [start, end) over which a feed of the market was connected; of equal starts the longest holds.
CREATE TABLE IF NOT EXISTS coverage $on_cluster
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    start DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    end DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX end_range end TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(end)
ORDER BY (exchange, symbol, start)
