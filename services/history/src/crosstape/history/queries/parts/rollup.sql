    -- One bar of the shorter bars `bar`: equal to the fold of their trades, because trades are ordered by time first.
    -- Those that were emptied hold none.
    argMinIf(bar.open, bar.open_time, bar.trades > 0) AS open,
    max(bar.high) AS high,
    minIf(bar.low, bar.trades > 0) AS low,
    argMaxIf(bar.close, bar.open_time, bar.trades > 0) AS close,
    sum(bar.volume) AS volume,
    sum(bar.volume_delta) AS volume_delta,
    sum(bar.volume_unknown) AS volume_unknown,
    sum(bar.trades) AS trades,
    argMinIf(bar.first_trade_seq, bar.open_time, bar.trades > 0) AS first_trade_seq,
    argMinIf(bar.first_trade_uid, bar.open_time, bar.trades > 0) AS first_trade_uid,
    argMaxIf(bar.last_trade_seq, bar.open_time, bar.trades > 0) AS last_trade_seq,
    argMaxIf(bar.last_trade_uid, bar.open_time, bar.trades > 0) AS last_trade_uid
