SELECT
    toUnixTimestamp64Milli(open_time) AS timestamp,
    formatDateTime(open_time, '%Y-%m-%d %H:%i:%S') AS date,
    open, high, low, close, volume
FROM klines FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND interval = {interval:String}
    AND open_time >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')
    AND open_time < fromUnixTimestamp64Milli({end:Int64}, 'UTC')
ORDER BY timestamp
