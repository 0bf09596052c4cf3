SELECT
    toUnixTimestamp64Milli(open_time) AS timestamp,
    formatDateTime(open_time, '%Y-%m-%d %H:%i:%S') AS date,
    open, high, low, close, volume
FROM
(
$candles
)
ORDER BY timestamp
