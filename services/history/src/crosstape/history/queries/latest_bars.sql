-- The bars that were stored last: whoever stored them may have died before telling.
WITH (SELECT max(computed_at) FROM bars WHERE interval = 60) AS newest
SELECT
    toString(exchange), toString(symbol), interval, toUnixTimestamp(open_time),
    toString(open), toString(high), toString(low), toString(close),
    toString(volume), toString(volume_delta), toString(volume_unknown), trades,
    first_trade_seq, first_trade_uid, last_trade_seq, last_trade_uid, revision
FROM bars FINAL
WHERE computed_at >= newest - INTERVAL 10 SECOND
ORDER BY exchange, symbol, interval DESC, open_time
