-- Minutes of the `assigned` partitions of the bus that got trades after the last moments their closing is known to have
-- run, or that were not over then (a wrong clock dates trades ahead), whose bar is missing or older. A partition that
-- was closed last long before others rests, or its closing failed: of the markets that it is known to have all since is
-- looked through, but no more than a day.
WITH
    (
$newest_closings
    ) AS closings,
    mapFromArrays(closings.1, closings.2) AS newest,
    closings.4 AS newest_of_all,
    arrayMin(arrayPushBack(closings.2, newest_of_all)) - INTERVAL 10 MINUTE AS longest_ago,
    greatest(longest_ago, newest_of_all - INTERVAL 1 DAY) AS horizon,
    greatest(horizon, newest_of_all - INTERVAL 20 MINUTE) AS recent,
    arrayFilter((markets, at) -> at < newest_of_all - INTERVAL 10 MINUTE, closings.3, closings.2) AS resting
SELECT touched.exchange, touched.symbol, touched.minute, touched.rows
FROM
(
    SELECT
        toString(exchange) AS exchange,
        toString(symbol) AS symbol,
        toUnixTimestamp(toStartOfMinute(time)) AS minute,
        max(inserted_at) AS newest_trade,
        count() AS rows
    FROM
    (
        -- Not one condition with OR: that would use neither column's index.
        SELECT exchange, symbol, time, inserted_at FROM trades WHERE inserted_at >= recent
        UNION ALL
        SELECT exchange, symbol, time, inserted_at FROM trades WHERE time >= recent AND inserted_at < recent
        UNION ALL
        SELECT exchange, symbol, time, inserted_at FROM trades
        WHERE (exchange, symbol) IN (SELECT market.1, market.2 FROM (SELECT arrayJoin(arrayFlatten(resting)) AS market))
            AND inserted_at >= horizon AND inserted_at < recent AND time < recent
        UNION ALL
        SELECT exchange, symbol, time, inserted_at FROM trades
        WHERE (exchange, symbol) IN (SELECT market.1, market.2 FROM (SELECT arrayJoin(arrayFlatten(resting)) AS market))
            AND time >= horizon AND inserted_at < horizon AND time < recent
    )
    GROUP BY exchange, symbol, minute
    HAVING has({assigned:Array(UInt32)}, $partition AS part)
        AND greatest(newest_trade, max(time)) >= newest[part] - INTERVAL 10 MINUTE
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
WHERE closed.computed <= touched.newest_trade + INTERVAL 10 SECOND
