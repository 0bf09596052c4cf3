-- How many bars of `seconds` open in [start, end).
SELECT uniqExact($bucket)
FROM
(
    SELECT open_time
    FROM
    (
$stored_bars
        WHERE trades > 0
    )
    UNION ALL
    SELECT toUnixTimestamp(time) - toUnixTimestamp(time) % {base:UInt32} AS open_time
$open_trades
    GROUP BY open_time
) AS bar
