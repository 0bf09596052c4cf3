-- Minutes that got trades after the last moments the closing is known to have run, or that were not over then (a wrong
-- clock dates trades ahead), whose bar is missing or older.
WITH (SELECT max(computed_at) FROM bars WHERE interval = 60) - INTERVAL 10 MINUTE AS horizon
SELECT touched.exchange, touched.symbol, touched.minute, touched.rows
FROM
(
    SELECT
        toString(exchange) AS exchange,
        toString(symbol) AS symbol,
        toUnixTimestamp(toStartOfMinute(time)) AS minute,
        max(inserted_at) AS newest,
        count() AS rows
    FROM
    (
        -- Not one condition with OR: that would use neither column's index.
        SELECT exchange, symbol, time, inserted_at FROM trades WHERE inserted_at >= horizon
        UNION ALL
        SELECT exchange, symbol, time, inserted_at FROM trades WHERE time >= horizon AND inserted_at < horizon
    )
    GROUP BY exchange, symbol, minute
) AS touched
LEFT JOIN
(
    SELECT
        toString(exchange) AS exchange,
        toString(symbol) AS symbol,
        toUnixTimestamp(open_time) AS minute,
        max(computed_at) AS computed
    FROM bars
    WHERE interval = 60 AND computed_at >= horizon
    GROUP BY exchange, symbol, minute
) AS closed USING (exchange, symbol, minute)
WHERE closed.computed <= touched.newest + INTERVAL 10 SECOND
