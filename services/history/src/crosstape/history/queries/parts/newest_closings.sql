    -- When a minute of each of the `assigned` partitions was closed last, and their markets: three arrays. And when one
    -- of any partition was.
    SELECT groupArrayIf(part, is_ours), groupArrayIf(newest, is_ours), groupArrayIf(markets, is_ours), max(newest)
    FROM
    (
        SELECT
            $partition AS part,
            has({assigned:Array(UInt32)}, part) AS is_ours,
            max(computed_at) AS newest,
            groupArray((toString(exchange), toString(symbol))) AS markets
        FROM (SELECT exchange, symbol, max(computed_at) AS computed_at FROM bars WHERE interval = 60 GROUP BY ALL)
        GROUP BY part
    )
