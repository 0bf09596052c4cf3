-- Every market of an exchange that the tape has, closed minutes or not.
SELECT DISTINCT toString(symbol) AS symbol
FROM
(
    SELECT symbol FROM bars WHERE exchange = {exchange:String} AND interval = 60 GROUP BY symbol
    UNION ALL
    SELECT symbol
    FROM trades
    WHERE exchange = {exchange:String} AND inserted_at > now64(6) - INTERVAL 2 MINUTE
    GROUP BY symbol
)
ORDER BY symbol
