    SELECT
        toUnixTimestamp(open_time) AS open_time,
        open, high, low, close, volume, volume_delta, volume_unknown, trades,
        first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid,
        revision,
        0 AS is_open
$closed
