-- The bars of `intervals` (s) of `minutes` as they are stored; of all the markets' in [start, end) when none are named.
SELECT
    toString(bar.exchange) AS exchange,
    toString(bar.symbol) AS symbol,
    bar.interval AS interval,
    toUnixTimestamp(bar.open_time) AS open_time,
$bar_texts,
    bar.revision AS revision
FROM bars AS bar FINAL
PREWHERE (bar.exchange, bar.symbol) IN {markets:Array(Tuple(String, String))}
    AND bar.interval IN {intervals:Array(UInt32)}
    AND bar.open_time >= toDateTime({start:UInt32}, 'UTC')
    AND bar.open_time < toDateTime({end:UInt32}, 'UTC')
    AND (
        empty({minutes:Array(Tuple(String, String, UInt32))})
        OR (bar.exchange, bar.symbol, toUnixTimestamp(toStartOfMinute(bar.open_time)))
            IN {minutes:Array(Tuple(String, String, UInt32))}
    )
