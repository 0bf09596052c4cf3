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
    FROM trades FINAL
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND time >= toDateTime64(greatest({start:UInt32}, ifNull(closed_until, 0)), 9, 'UTC')
        AND time < toDateTime64({end:UInt32}, 9, 'UTC')
    GROUP BY open_time
) AS bar
