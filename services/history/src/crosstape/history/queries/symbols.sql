-- Every market of an exchange that the tape has.
SELECT DISTINCT toString(symbol)
FROM bars
WHERE exchange = {exchange:String} AND interval = 60
