    -- The trades of a market from the id (trade_seq, trade_uid) on, of time [start, end) in ns, ordered by their ids.
FROM trades FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND trade_seq >= {from_seq:UInt64}
    AND (trade_seq, trade_uid) >= ({from_seq:UInt64}, {from_uid:String})
    AND time >= fromUnixTimestamp64Nano({start:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Nano({end:Int64}, 'UTC')
ORDER BY trade_seq, trade_uid
LIMIT {limit:UInt32}
