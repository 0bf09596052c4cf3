-- Until when (Unix s) what the bus had of a market is stored: its own last closed minute's end (`base` seconds), or of
-- those that open from `since` on the last one's in its partition, of any market. The bus places a record by this hash
-- of its key, in a topic of `partitions`, and a partition is stored in its order.
WITH bitAnd(kafkaMurmurHash(concat({exchange:String}, ':', {symbol:String})), 2147483647) AS own
SELECT greatest(
    ifNull($closed_until, 0),
    (
        SELECT if(count() = 0, 0, toUnixTimestamp(max(open_time)) + {base:UInt32})
        FROM bars
        PREWHERE interval = {base:UInt32} AND open_time >= toDateTime({since:UInt32}, 'UTC')
        WHERE bitAnd(kafkaMurmurHash(concat(exchange, ':', symbol)), 2147483647) % partitions = own % partitions
    )
)
