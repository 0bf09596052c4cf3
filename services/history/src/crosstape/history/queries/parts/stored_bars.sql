    SELECT
        toUnixTimestamp(open_time) AS open_time,
        open, high, low, close, volume, volume_delta, volume_unknown, trades,
        first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid,
        revision,
        0 AS is_open
    FROM bars FINAL
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND interval = {base:UInt32}
        AND open_time >= toDateTime({start:UInt32}, 'UTC')
        AND open_time < toDateTime({end:UInt32}, 'UTC')
        AND trades > 0
