-- The newest trades of a market of time [start, end) in ns, newest first.
SELECT
    if(trade_uid = '', trade_seq::Variant(String, UInt64), trade_uid::Variant(String, UInt64)) AS trade_id,
    toUnixTimestamp64Micro(time) / 1000000 AS timestamp,
    price,
    quantity,
    multiIf(side = 1, 'buy', side = -1, 'sell', 'unknown') AS side
FROM trades FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND time >= fromUnixTimestamp64Nano({start:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Nano({end:Int64}, 'UTC')
ORDER BY trade_seq DESC, trade_uid DESC
LIMIT {limit:UInt32}
