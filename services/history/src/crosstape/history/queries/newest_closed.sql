-- Of each of the markets that has one from `since` on, its last closed minute and the last trade in it.
SELECT toString(symbol) AS symbol, toUnixTimestamp(open_time) AS minute, last_trade_seq, last_trade_uid
FROM bars FINAL
WHERE exchange = {exchange:String}
    AND symbol IN {symbols:Array(String)}
    AND interval = 60
    AND (bars.symbol, open_time) IN
    (
        SELECT symbol, max(open_time)
        FROM bars
        WHERE exchange = {exchange:String}
            AND symbol IN {symbols:Array(String)}
            AND interval = 60
            AND open_time >= toDateTime({since:UInt32}, 'UTC')
            AND trades > 0
        GROUP BY symbol
    )
ORDER BY symbol
