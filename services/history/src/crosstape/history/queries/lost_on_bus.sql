-- The intervals (ns) of which the bus lost trades that have no numbers and are not repaired yet.
SELECT toString(symbol), toUnixTimestamp64Nano(start), toUnixTimestamp64Nano(end)
FROM gaps FINAL
WHERE exchange = {exchange:String}
    AND symbol IN {symbols:Array(String)}
    AND first_id < 0
    AND state = 'open'
    AND cause = 'bus'
ORDER BY symbol, start
