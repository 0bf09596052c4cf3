-- The bars of the `assigned` partitions of the bus that were stored last in each: whoever stored them may have died
-- before telling. Whoever dies is replaced within seconds, so partitions that were closed last long before others have
-- none. Their keys come first, so that no other row is looked up with FINAL.
WITH
    (
$newest_closings
    ) AS closings,
    mapFromArrays(closings.1, closings.2) AS newest,
    arrayMin(arrayPushBack(closings.2, closings.4)) AS longest_ago,
    greatest(longest_ago, closings.4 - INTERVAL 1 HOUR) - INTERVAL 10 SECOND AS earliest
SELECT
    toString(bar.exchange) AS exchange,
    toString(bar.symbol) AS symbol,
    bar.interval AS interval,
    toUnixTimestamp(bar.open_time) AS open_time,
$bar_texts,
    bar.revision AS revision
FROM bars AS bar FINAL
PREWHERE (bar.exchange, bar.symbol, bar.interval, bar.open_time) IN
(
    SELECT exchange, symbol, interval, open_time
    FROM (SELECT exchange, symbol, interval, open_time, computed_at FROM bars WHERE computed_at >= earliest)
    WHERE has({assigned:Array(UInt32)}, $partition AS part) AND computed_at >= newest[part] - INTERVAL 10 SECOND
)
ORDER BY exchange, symbol, interval DESC, open_time
