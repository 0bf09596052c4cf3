-- Candles of a length the exchange does not offer, from its shorter ones.
SELECT
    toUInt64(opened) * 1000 AS timestamp,
    formatDateTime(toDateTime(opened, 'UTC'), '%Y-%m-%d %H:%i:%S') AS date,
    argMin(bar.open, bar.open_time) AS open,
    max(bar.high) AS high,
    min(bar.low) AS low,
    argMax(bar.close, bar.open_time) AS close,
    sum(bar.volume) AS volume
FROM
(
    SELECT toUnixTimestamp(open_time) AS open_time, open, high, low, close, toDecimal256(volume, 18) AS volume
    FROM
    (
$candles
    )
) AS bar
GROUP BY
$bucket AS opened
ORDER BY timestamp
