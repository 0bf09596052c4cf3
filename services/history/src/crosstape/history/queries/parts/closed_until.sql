    (
        SELECT toUnixTimestamp(open_time) + 60
        FROM bars
        WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND interval = 60
        ORDER BY exchange DESC, symbol DESC, interval DESC, open_time DESC
        LIMIT 1
    )
