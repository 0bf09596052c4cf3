-- Bars of a stored interval (`base` seconds) that open in [start, end), oldest first: the closed ones as stored, the
-- open ones folded from the tape.
SELECT
    open_time AS timestamp,
$bar_row
FROM
(
$stored_bars
    WHERE trades > 0
    ORDER BY bars.open_time
    LIMIT {limit:UInt32} + {offset:UInt32}
    UNION ALL
$open_bars
)
ORDER BY timestamp
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
