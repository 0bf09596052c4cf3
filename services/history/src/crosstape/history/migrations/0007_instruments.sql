-- Each exchange's market list as last heard (JSON), for when the exchange is away.
CREATE TABLE IF NOT EXISTS instruments $on_cluster
(
    exchange LowCardinality(String),
    instruments String CODEC(ZSTD(3)),
    fetched_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${replicated}ReplacingMergeTree(fetched_at)
ORDER BY exchange
