    -- The trades of [start, end) that no closed bar holds.
    FROM trades FINAL
    WHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND time >= toDateTime64(
            greatest({start:UInt32}, ifNull($closed_until, 0)), 9, 'UTC'
        )
        AND time < toDateTime64({end:UInt32}, 9, 'UTC')
