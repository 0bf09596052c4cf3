    -- One bar of the shorter bars `bar`: equal to the fold of their trades, because trades are ordered by time first.
    argMin(bar.open, bar.open_time) AS open,
    max(bar.high) AS high,
    min(bar.low) AS low,
    argMax(bar.close, bar.open_time) AS close,
    sum(bar.volume) AS volume,
    sum(bar.volume_delta) AS volume_delta,
    sum(bar.volume_unknown) AS volume_unknown,
    sum(bar.trades) AS trades,
    argMin(bar.first_trade_seq, bar.open_time) AS first_trade_seq,
    argMin(bar.first_trade_uid, bar.open_time) AS first_trade_uid,
    argMax(bar.last_trade_seq, bar.open_time) AS last_trade_seq,
    argMax(bar.last_trade_uid, bar.open_time) AS last_trade_uid
