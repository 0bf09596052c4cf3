SELECT
    timestamp,
$bar_row
FROM
(
    SELECT
        $bucket AS timestamp,
$rollup,
        sum(bar.revision) AS revision,
        max(bar.is_open) OR $bucket_end > {stored_until:UInt32} AS is_open
    FROM
    (
$stored_bars
        UNION ALL
$open_bars
    ) AS bar
    GROUP BY timestamp
    HAVING trades > 0
)
