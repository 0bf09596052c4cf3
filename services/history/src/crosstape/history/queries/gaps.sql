-- The newest state of the market's gaps that reach into [start, end] (ns).
SELECT
    first_id,
    last_id,
    toUnixTimestamp64Nano(gaps.start),
    toUnixTimestamp64Nano(gaps.end),
    toString(cause),
    toString(state)
FROM gaps FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND gaps.start <= fromUnixTimestamp64Nano({end:Int64}, 'UTC')
    AND gaps.end >= fromUnixTimestamp64Nano({start:Int64}, 'UTC')
ORDER BY gaps.start, first_id
