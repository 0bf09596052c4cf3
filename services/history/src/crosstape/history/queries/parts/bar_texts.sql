    -- A bar with its numbers as their canonical text.
    toString(bar.open) AS open,
    toString(bar.high) AS high,
    toString(bar.low) AS low,
    toString(bar.close) AS close,
    toString(bar.volume) AS volume,
    toString(bar.volume_delta) AS volume_delta,
    toString(bar.volume_unknown) AS volume_unknown,
    bar.trades AS trades,
    bar.first_trade_seq AS first_trade_seq,
    bar.first_trade_uid AS first_trade_uid,
    bar.last_trade_seq AS last_trade_seq,
    bar.last_trade_uid AS last_trade_uid
