-- Closed bars of a stored interval (`base` seconds) that open in [start, end), oldest first.
SELECT
    open_time AS timestamp,
$bar_row
FROM
(
$stored_bars
    ORDER BY bars.open_time
    LIMIT {limit:UInt32} OFFSET {offset:UInt32}
)
ORDER BY timestamp
