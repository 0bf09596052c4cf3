-- Minutes with trades in [start, end): how many, and the first and last id.
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
    WHERE trades > 0
    UNION ALL
$open_bars
)
ORDER BY open_time
