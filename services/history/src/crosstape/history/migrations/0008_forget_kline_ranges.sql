-- What was written before could call a range complete that was not: Kraken gives its newest candles only, and a candle
-- that had ended a moment ago counted as closed. Candles stay, and come anew where they are asked for.
TRUNCATE TABLE IF EXISTS kline_ranges $on_cluster
