-- Closed bars of one minute and of one second (`interval`, in seconds), recomputed from the tape: never added to.
-- The version grows with each revision even when a clock steps back. A bar whose last trade left it has trades = 0.
CREATE TABLE IF NOT EXISTS bars $on_cluster
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    interval UInt32,
    open_time DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    open Decimal(38, 18) CODEC(ZSTD(1)),
    high Decimal(38, 18) CODEC(ZSTD(1)),
    low Decimal(38, 18) CODEC(ZSTD(1)),
    close Decimal(38, 18) CODEC(ZSTD(1)),
    volume Decimal(76, 18) CODEC(ZSTD(1)),
    volume_delta Decimal(76, 18) CODEC(ZSTD(1)),
    volume_unknown Decimal(76, 18) CODEC(ZSTD(1)),
    trades UInt64 CODEC(T64, ZSTD(1)),
    first_trade_seq UInt64 CODEC(Delta, ZSTD(1)),
    first_trade_uid String CODEC(ZSTD(1)),
    last_trade_seq UInt64 CODEC(Delta, ZSTD(1)),
    last_trade_uid String CODEC(ZSTD(1)),
    revision UInt32,
    computed_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(DoubleDelta, ZSTD(1)),
    version UInt64 MATERIALIZED bitShiftLeft(toUInt64(revision), 44) + toUnixTimestamp64Milli(computed_at)
        CODEC(Delta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(version)
ORDER BY (exchange, symbol, interval, open_time)
