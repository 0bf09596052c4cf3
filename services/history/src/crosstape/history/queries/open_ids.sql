-- The least and the greatest id, the text of the latter, and the newest time (ns) of what the tape holds in
-- [start, end), closed or not.
SELECT
    toString(symbol) AS symbol,
    min(trade_seq),
    max(trade_seq),
    argMax(trade_uid, (trade_seq, trade_uid)),
    toUnixTimestamp64Nano(max(time))
FROM trades
WHERE exchange = {exchange:String}
    AND symbol IN {symbols:Array(String)}
    AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
    AND time < toDateTime64({end:UInt32}, 9, 'UTC')
GROUP BY symbol
