    -- Bars the tape holds after the last closed one, folded now.
    SELECT
        open_time, open, high, low, close, volume, volume_delta, volume_unknown, trades,
        first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid, revision, is_open
    FROM
    (
        SELECT
            toUnixTimestamp(time) - toUnixTimestamp(time) % {base:UInt32} AS open_time,
$fold,
            toUInt32(0) AS revision,
            1 AS is_open
$open_trades
        GROUP BY open_time
    )
