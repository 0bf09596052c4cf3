-- The intervals (ns) after a moment that somebody vouched for or gave up; and where the last of each market ended.
SELECT toString(symbol), toUnixTimestamp64Nano(start), toUnixTimestamp64Nano(end)
FROM coverage FINAL
WHERE exchange = {exchange:String}
    AND symbol IN {symbols:Array(String)}
    AND end >= fromUnixTimestamp64Nano({since:Int64}, 'UTC')
UNION ALL
SELECT toString(symbol), toUnixTimestamp64Nano(max(coverage.end)), toUnixTimestamp64Nano(max(coverage.end))
FROM coverage
WHERE exchange = {exchange:String} AND symbol IN {symbols:Array(String)}
GROUP BY symbol
UNION ALL
SELECT toString(symbol), toUnixTimestamp64Nano(start), toUnixTimestamp64Nano(end)
FROM gaps FINAL
WHERE exchange = {exchange:String}
    AND symbol IN {symbols:Array(String)}
    AND first_id < 0
    AND state = 'unfillable'
    AND end >= fromUnixTimestamp64Nano({since:Int64}, 'UTC')
