-- The newest bars of a stored interval that open in [start, end), newest first.
WITH $closed_until AS closed_until
SELECT
    open_time AS timestamp,
$bar_row
FROM
(
$stored_bars
    ORDER BY bars.open_time DESC
    LIMIT {limit:UInt32}
    UNION ALL
$open_bars
)
ORDER BY timestamp DESC
LIMIT {limit:UInt32}
