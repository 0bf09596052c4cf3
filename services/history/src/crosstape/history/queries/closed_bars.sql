-- Closed bars of a stored interval (`base` seconds) that open in [start, end), oldest first.
WITH 0 AS is_open
SELECT
    toUnixTimestamp(open_time) AS timestamp,
$bar_row
$closed
WHERE trades > 0
ORDER BY bars.open_time
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
