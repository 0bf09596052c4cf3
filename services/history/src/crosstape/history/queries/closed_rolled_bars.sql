-- Closed bars of a longer interval (`seconds`) that open in [start, end), oldest first, rolled up from minutes.
SELECT
    timestamp,
$bar_row
FROM
(
    SELECT
        $bucket AS timestamp,
$rollup,
        sum(bar.revision) AS revision,
        0 AS is_open
    FROM
    (
$stored_bars
    ) AS bar
    GROUP BY timestamp
    HAVING trades > 0
)
ORDER BY timestamp
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
