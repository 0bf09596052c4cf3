-- Closed minutes of some markets of an exchange that open from `since` (Unix s) on, oldest first.
WITH 0 AS is_open
SELECT
    toString(bars.symbol) AS symbol,
    toUnixTimestamp(open_time) AS timestamp,
$bar_row
FROM bars FINAL
PREWHERE exchange = {exchange:String}
    AND bars.symbol IN {symbols:Array(String)}
    AND interval = 60
    AND bars.open_time >= toDateTime({since:UInt32}, 'UTC')
WHERE trades > 0
ORDER BY bars.symbol, bars.open_time
