-- How many bars of `seconds` open in [start, end).
WITH $closed_until AS closed_until
SELECT uniqExact($bucket)
FROM
(
    SELECT open_time
    FROM
    (
$stored_bars
    )
    UNION ALL
    SELECT toUnixTimestamp(time) - toUnixTimestamp(time) % {base:UInt32} AS open_time
$open_trades
    GROUP BY open_time
) AS bar
