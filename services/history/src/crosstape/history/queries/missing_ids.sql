-- The first `limit` holes in the ids [first, last] of a market, and the times (ns) of the trades before and after each.
SELECT previous_seq + 1, trade_seq - 1, toUnixTimestamp64Nano(previous_time), toUnixTimestamp64Nano(time)
FROM
(
    SELECT
        trade_seq,
        time,
        lagInFrame(trade_seq, 1, trade_seq) OVER earlier AS previous_seq,
        lagInFrame(time, 1, time) OVER earlier AS previous_time
    FROM trades FINAL
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND trade_seq BETWEEN {first:UInt64} AND {last:UInt64}
    WINDOW earlier AS (ORDER BY trade_seq ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE trade_seq > previous_seq + 1
ORDER BY trade_seq
LIMIT {limit:UInt32}
