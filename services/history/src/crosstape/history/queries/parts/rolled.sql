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
$open_bars
    ) AS bar
    GROUP BY timestamp
)
