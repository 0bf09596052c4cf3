    -- The market's candles that open in [start, end) ms as they are kept, and those that are not kept yet.
    SELECT open_time, open, high, low, close, volume
    FROM klines FINAL
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND interval = {interval:String}
        AND open_time >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
        AND open_time < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
    UNION ALL
    SELECT
        fromUnixTimestamp64Milli(candle.1, 'UTC') AS open_time,
        toDecimal128(candle.2, 18) AS open,
        toDecimal128(candle.3, 18) AS high,
        toDecimal128(candle.4, 18) AS low,
        toDecimal128(candle.5, 18) AS close,
        toDecimal128(candle.6, 18) AS volume
    FROM
    (
        SELECT arrayJoin({not_kept:Array(Tuple(Int64, String, String, String, String, String))}) AS candle
    )
