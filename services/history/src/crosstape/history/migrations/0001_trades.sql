-- The tape. A trade is its key; copies of it collapse to the one with the highest version, which comes from content
-- alone: the rank of its source, then a hash of what it says. So any order of arrival leaves the same row.
-- trade_seq is the exchange's number; for ids that are texts it is the trade time in ms, and trade_uid is the text.
-- Within a market trade_seq grows with time, so the minmax index prunes a time range (with FINAL too: exact mode).
-- No partitions: a partition by time could split an identity, and then FINAL would see it twice.
CREATE TABLE IF NOT EXISTS trades $on_cluster
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    trade_seq UInt64 CODEC(Delta, ZSTD(1)),
    trade_uid String CODEC(ZSTD(1)),
    time DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    price Decimal(38, 18) CODEC(ZSTD(1)),
    quantity Decimal(38, 18) CODEC(ZSTD(1)),
    side Int8,
    time_received DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    source UInt8,
    inserted_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(DoubleDelta, ZSTD(1)),
    version UInt64 MATERIALIZED bitOr(
        bitShiftLeft(toUInt64(source), 62),
        bitShiftRight(cityHash64(time, price, quantity, side), 2)
    ) CODEC(NONE),
    INDEX time_range time TYPE minmax GRANULARITY 1,
    INDEX inserted_range inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ${replicated}ReplacingMergeTree(version)
ORDER BY (exchange, symbol, trade_seq, trade_uid)
SETTINGS index_granularity = 2048
