-- The last minute with trades before `start`, and the first from `end` on; `start` and `end` where there is none.
SELECT
    (
        SELECT if(count() = 0, {start:UInt32}, toUnixTimestamp(max(open_time)))
        FROM bars
        WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND interval = 60
            AND open_time < toDateTime({start:UInt32}, 'UTC') AND trades > 0
    ),
    (
        SELECT if(count() = 0, {end:UInt32}, toUnixTimestamp(min(open_time)) + 60)
        FROM bars
        WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND interval = 60
            AND open_time >= toDateTime({end:UInt32}, 'UTC') AND trades > 0
    )
