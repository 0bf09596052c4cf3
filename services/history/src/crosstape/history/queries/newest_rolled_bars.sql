-- Bars of a longer interval (`seconds`) that open in [start, end), newest first, rolled up from minutes.
$rolled
ORDER BY timestamp DESC
LIMIT {limit:UInt32}
