-- The bars of `intervals` (s) of `minutes`, recomputed from the tape; of all the markets' in [start, end) when none are
-- named, which saves looking each trade's minute up. Nor is each trade's market looked up: the hint says where in the
-- table the markets lie, and bars of others that lie there too are left out at the end (`any` keeps that from being
-- done trade by trade before).
SELECT
    toString(bar.exchange) AS exchange,
    toString(bar.symbol) AS symbol,
    bar.interval AS interval,
    bar.open_time AS open_time,
$bar_texts
FROM
(
    SELECT
        bar.exchange AS exchange,
        bar.symbol AS symbol,
        interval,
        toUInt32(bar.open_time - bar.open_time % interval) AS open_time,
$rollup
    FROM
    (
        SELECT
            exchange,
            symbol,
            toUnixTimestamp(time) AS open_time,
$fold
        FROM trades FINAL
        WHERE indexHint((exchange, symbol) IN {markets:Array(Tuple(String, String))})
            AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
            AND time < toDateTime64({end:UInt32}, 9, 'UTC')
            AND (
                empty({minutes:Array(Tuple(String, String, UInt32))})
                OR (exchange, symbol, toUnixTimestamp(toStartOfMinute(time)))
                    IN {minutes:Array(Tuple(String, String, UInt32))}
            )
        GROUP BY exchange, symbol, open_time
    ) AS bar
    ARRAY JOIN {intervals:Array(UInt32)} AS interval
    GROUP BY exchange, symbol, interval, open_time
    HAVING (any(bar.exchange), any(bar.symbol)) IN {markets:Array(Tuple(String, String))}
) AS bar
ORDER BY exchange, symbol, interval DESC, open_time
