-- The minutes that hold the trades [first, last] of a market, every copy of them counted.
SELECT DISTINCT toUnixTimestamp(toStartOfMinute(time)) AS minute
FROM trades
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND trade_seq BETWEEN {first:UInt64} AND {last:UInt64}
