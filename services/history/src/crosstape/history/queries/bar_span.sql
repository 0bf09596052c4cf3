-- When the first closed minute of a market opens and the last one ends; zeros when there is none.
SELECT toUnixTimestamp(min(open_time)), if(count() = 0, 0, toUnixTimestamp(max(open_time)) + 60)
FROM bars
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND interval = 60
