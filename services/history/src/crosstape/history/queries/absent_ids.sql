-- Id ranges that an exchange's own history says do not exist, by market.
SELECT toString(symbol), first_id, last_id
FROM gaps FINAL
WHERE exchange = {exchange:String} AND symbol IN {symbols:Array(String)} AND state = 'absent' AND first_id >= 0
ORDER BY symbol, first_id
