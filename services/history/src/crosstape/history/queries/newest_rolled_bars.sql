-- Bars of a longer interval (`seconds`) that open in [start, end), newest first, rolled up from minutes.
WITH $closed_until AS closed_until
SELECT
    timestamp,
$bar_row
FROM
(
    SELECT
        $bucket AS timestamp,
$rollup,
        sum(bar.revision) AS revision,
        max(bar.is_open) OR $bucket_end > toUnixTimestamp(now()) AS is_open
    FROM
    (
$stored_bars
        UNION ALL
        SELECT
            open_time, open, high, low, close, volume, volume_delta, volume_unknown, trades,
            first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid, revision, is_open
        FROM
        (
$open_bars
        )
    ) AS bar
    GROUP BY timestamp
)
ORDER BY timestamp DESC
LIMIT {limit:UInt32}
