-- Stored bars that open in [start, end), each as the canonical line that is hashed and compared.
SELECT
    interval,
    toUnixTimestamp(open_time) AS opened,
$bar_line
FROM bars FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND interval IN (1, 60)
    AND open_time >= toDateTime({start:UInt32}, 'UTC')
    AND open_time < toDateTime({end:UInt32}, 'UTC')
    AND trades > 0
ORDER BY opened, interval
