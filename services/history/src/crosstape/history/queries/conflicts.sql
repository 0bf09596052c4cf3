-- How many trades of some minutes have copies that say different things (the version's low bits hash the content).
SELECT count()
FROM
(
    SELECT 1
    FROM trades
    WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
        AND time >= toDateTime64({start:UInt32}, 9, 'UTC')
        AND time < toDateTime64({end:UInt32}, 9, 'UTC')
    GROUP BY exchange, symbol, trade_seq, trade_uid
    HAVING uniqExact(bitAnd(version, 4611686018427387903)) > 1
)
