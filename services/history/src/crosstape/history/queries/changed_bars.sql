-- The bars of some minutes recomputed from the tape, where they differ from what is stored. All numbers as their
-- canonical text. A stored bar that has no trade any more comes with trades = 0.
WITH
    seconds AS
    (
        SELECT
            exchange,
            symbol,
            toUnixTimestamp(time) AS open_time,
$fold
        FROM trades FINAL
        WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
            AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
            AND time < toDateTime64({end:UInt32}, 9, 'UTC')
            AND (exchange, symbol, toUnixTimestamp(toStartOfMinute(time)))
                IN {minutes:Array(Tuple(String, String, UInt32))}
        GROUP BY exchange, symbol, open_time
    ),
    computed AS
    (
        SELECT
            bar.exchange AS exchange,
            bar.symbol AS symbol,
            interval,
            toDateTime(bar.open_time - bar.open_time % interval, 'UTC') AS open_time,
$rollup
        FROM seconds AS bar
        ARRAY JOIN [toUInt32(1), toUInt32(60)] AS interval
        GROUP BY exchange, symbol, interval, open_time
    ),
    stored AS
    (
        SELECT *
        FROM bars FINAL
        WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
            AND interval IN (1, 60)
            AND open_time >= toDateTime({start:UInt32}, 'UTC')
            AND open_time < toDateTime({end:UInt32}, 'UTC')
            AND (exchange, symbol, toUnixTimestamp(toStartOfMinute(open_time)))
                IN {minutes:Array(Tuple(String, String, UInt32))}
    )
SELECT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    interval,
    toUnixTimestamp(open_time) AS open_time,
    toString(computed.open) AS open,
    toString(computed.high) AS high,
    toString(computed.low) AS low,
    toString(computed.close) AS close,
    toString(computed.volume) AS volume,
    toString(computed.volume_delta) AS volume_delta,
    toString(computed.volume_unknown) AS volume_unknown,
    computed.trades AS trades,
    computed.first_trade_seq AS first_trade_seq,
    computed.first_trade_uid AS first_trade_uid,
    computed.last_trade_seq AS last_trade_seq,
    computed.last_trade_uid AS last_trade_uid,
    toUInt32(if(toUnixTimestamp(stored.computed_at) = 0, 0, stored.revision + 1)) AS revision
FROM computed
FULL JOIN stored USING (exchange, symbol, interval, open_time)
WHERE (
        computed.open, computed.high, computed.low, computed.close,
        computed.volume, computed.volume_delta, computed.volume_unknown, computed.trades,
        computed.first_trade_seq, computed.first_trade_uid, computed.last_trade_seq, computed.last_trade_uid
    ) != (
        stored.open, stored.high, stored.low, stored.close,
        stored.volume, stored.volume_delta, stored.volume_unknown, stored.trades,
        stored.first_trade_seq, stored.first_trade_uid, stored.last_trade_seq, stored.last_trade_uid
    )
ORDER BY exchange, symbol, interval DESC, open_time
