-- Bars of a longer interval (`seconds`) that open in [start, end), oldest first, rolled up from minutes.
$rolled
ORDER BY timestamp
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
