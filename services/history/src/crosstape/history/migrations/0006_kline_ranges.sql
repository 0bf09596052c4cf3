-- Which ranges [start, end) of open times `klines` holds completely, so that an exchange is asked for each once.
CREATE TABLE IF NOT EXISTS kline_ranges $on_cluster
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    interval LowCardinality(String),
    start DateTime64(3, 'UTC'),
    end DateTime64(3, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree(end)
ORDER BY (exchange, symbol, interval, start)
