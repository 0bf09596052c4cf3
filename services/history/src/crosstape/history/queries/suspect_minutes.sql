-- Closed minutes of numbered markets whose ids do not add up, or do not follow those of the minute before. (One whose
-- last trade in time has not the highest id is not seen where as many ids lack as lie above that.) Columns:
-- (symbol, open time, the id before the minute's first, its last id).
SELECT toString(symbol) AS symbol, toUnixTimestamp(open_time) AS minute, before_first, last_trade_seq
FROM
(
    SELECT
        symbol,
        open_time,
        trades,
        first_trade_seq,
        last_trade_seq,
        lagInFrame(toInt64(last_trade_seq), 1, toInt64(first_trade_seq) - 1) OVER
            (PARTITION BY symbol ORDER BY open_time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before_first
    FROM bars FINAL
    WHERE exchange = {exchange:String}
        AND symbol IN {symbols:Array(String)}
        AND interval = 60
        AND open_time >= toDateTime({start:UInt32}, 'UTC')
        AND open_time < toDateTime({end:UInt32}, 'UTC')
        AND bars.trades > 0
)
WHERE toInt64(last_trade_seq) - before_first != toInt64(trades)
ORDER BY symbol, minute
