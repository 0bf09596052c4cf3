    -- The bar of some trades: what common.market.bar.fold_bars says, in SQL. A trade's place is its time, then its id
    -- (numbers before texts: their highest bit is free), as bytes that sort alike: half the cost of comparing tuples.
    sumIf(toDecimal256(quantity, 18), side = 1) AS bought,
    sumIf(toDecimal256(quantity, 18), side = -1) AS sold,
    argMin(price, concat(
        reinterpretAsFixedString(byteSwap(toUnixTimestamp64Nano(time))),
        reinterpretAsFixedString(byteSwap(bitOr(trade_seq, bitShiftLeft(toUInt64(trade_uid != ''), 63)))),
        trade_uid
    ) AS place) AS open,
    max(price) AS high,
    min(price) AS low,
    argMax(price, place) AS close,
    sumIf(toDecimal256(quantity, 18), side = 0) AS volume_unknown,
    bought + sold + volume_unknown AS volume,
    bought - sold AS volume_delta,
    count() AS trades,
    argMin(trade_seq, place) AS first_trade_seq,
    argMin(trade_uid, place) AS first_trade_uid,
    argMax(trade_seq, place) AS last_trade_seq,
    argMax(trade_uid, place) AS last_trade_uid
