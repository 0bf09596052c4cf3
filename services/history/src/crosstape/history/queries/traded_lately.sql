-- The open times (by `base` seconds) of [start, end) whose trades were stored a while ago at most: those that have no
-- bar may be about to get one. The tape's index by `inserted_at` leaves nearly all out.
SELECT DISTINCT toUnixTimestamp(time) - toUnixTimestamp(time) % {base:UInt32} AS open_time
FROM trades FINAL
WHERE exchange = {exchange:String}
    AND symbol = {symbol:String}
    AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
    AND time < toDateTime64({end:UInt32}, 9, 'UTC')
    AND inserted_at >= now64(6) - INTERVAL 1 HOUR
