-- Minutes with trades in [start, end): how many, and the first and last id.
WITH $closed_until AS closed_until
SELECT
    open_time,
    trades,
    first_trade_seq,
    first_trade_uid,
    last_trade_seq,
    last_trade_uid
FROM
(
$stored_bars
    UNION ALL
    SELECT
        open_time, open, high, low, close, volume, volume_delta, volume_unknown, trades,
        first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid, revision, is_open
    FROM
    (
$open_bars
    )
)
ORDER BY open_time
