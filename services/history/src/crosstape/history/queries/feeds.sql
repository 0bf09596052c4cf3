-- How long ago (ms) anything of each exchange last reached the store: a bar of what was traded, or word that its feed is
-- up. Nobody looks at the tape: where it is long, finding what was inserted last takes longer than a probe has.
SELECT toString(exchange) AS exchange, greatest(0, toUnixTimestamp64Milli(now64(3)) - max(newest)) AS age_ms
FROM
(
    SELECT exchange, toUnixTimestamp64Milli(toDateTime64(max(computed_at), 3, 'UTC')) AS newest
    FROM bars
    WHERE interval = 1 AND open_time > now() - INTERVAL 5 MINUTE
    GROUP BY exchange
    UNION ALL
    SELECT exchange, toUnixTimestamp64Milli(toDateTime64(max(computed_at), 3, 'UTC'))
    FROM bars
    WHERE interval = 60 AND open_time > now() - INTERVAL 1 DAY
    GROUP BY exchange
    UNION ALL
    SELECT exchange, toUnixTimestamp64Milli(toDateTime64(max(end), 3, 'UTC'))
    FROM coverage
    WHERE end BETWEEN now64(9) - INTERVAL 1 DAY AND now64(9)
    GROUP BY exchange
)
GROUP BY exchange
ORDER BY exchange
