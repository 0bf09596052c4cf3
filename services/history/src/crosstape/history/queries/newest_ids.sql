-- The greatest id that is stored of each market.
SELECT toString(exchange), toString(symbol), max(trade_seq)
FROM trades
WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
GROUP BY exchange, symbol
