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
    SELECT
        open_time, open, high, low, close, volume, volume_delta, volume_unknown, trades,
        first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid, revision, is_open
    FROM
    (
$open_bars
    )
)
ORDER BY timestamp DESC
LIMIT {limit:UInt32}
