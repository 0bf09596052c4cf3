-- Which of [start, end) (ms) the store holds completely.
SELECT toUnixTimestamp64Milli(kline_ranges.start), toUnixTimestamp64Milli(kline_ranges.end)
FROM kline_ranges FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND interval = {interval:String}
    AND kline_ranges.start < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
    AND kline_ranges.end > fromUnixTimestamp64Milli({start:Int64}, 'UTC')
ORDER BY kline_ranges.start
