-- Until when (ns) each market of the exchange was connected in the intervals that began before a moment.
SELECT toString(symbol), toUnixTimestamp64Nano(max(coverage.end))
FROM coverage
WHERE exchange = {exchange:String} AND coverage.start < fromUnixTimestamp64Nano({before:Int64}, 'UTC')
GROUP BY symbol
