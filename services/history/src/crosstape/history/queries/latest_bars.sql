-- The bars that were stored last: whoever stored them may have died before telling.
WITH (SELECT max(computed_at) FROM bars WHERE interval = 60) AS newest
SELECT
    toString(bar.exchange) AS exchange,
    toString(bar.symbol) AS symbol,
    bar.interval AS interval,
    toUnixTimestamp(bar.open_time) AS open_time,
$bar_texts,
    bar.revision AS revision
FROM bars AS bar FINAL
WHERE bar.computed_at >= newest - INTERVAL 10 SECOND
ORDER BY exchange, symbol, interval DESC, open_time
