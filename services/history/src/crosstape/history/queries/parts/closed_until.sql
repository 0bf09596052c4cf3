    (
        SELECT toUnixTimestamp(open_time) + {base:UInt32}
        FROM bars
        WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND interval = {base:UInt32}
        ORDER BY exchange DESC, symbol DESC, interval DESC, open_time DESC
        LIMIT 1
    )
