-- When the market's feed was connected, of all that reaches into [start, end), in ns.
SELECT toUnixTimestamp64Nano(start), toUnixTimestamp64Nano(end)
FROM coverage FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND coverage.start < fromUnixTimestamp64Nano({end:Int64}, 'UTC')
    AND coverage.end > fromUnixTimestamp64Nano({start:Int64}, 'UTC')
ORDER BY coverage.start
