-- The bars that open in [start, end) recomputed from the tape, each as its canonical line. Both lengths straight from
-- the trades, not one from the other: this is what checks the stored ones.
SELECT
    interval,
    opened,
$bar_line
FROM
(
    SELECT
        exchange,
        symbol,
        interval,
        toUnixTimestamp(time) - toUnixTimestamp(time) % interval AS opened,
$fold
    FROM trades FINAL
    ARRAY JOIN [toUInt32(1), toUInt32(60)] AS interval
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
        AND time < toDateTime64({end:UInt32}, 9, 'UTC')
    GROUP BY exchange, symbol, interval, opened
)
ORDER BY opened, interval
