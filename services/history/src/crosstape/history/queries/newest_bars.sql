-- The newest bars of a stored interval that open in [start, end), newest first.
SELECT
    open_time AS timestamp,
$bar_row
FROM
(
$stored_bars
    WHERE trades > 0
    ORDER BY bars.open_time DESC
    LIMIT {limit:UInt32}
    UNION ALL
$open_bars
)
ORDER BY timestamp DESC
LIMIT {limit:UInt32}
