    -- Of the stored bars those that open in [start, end), emptied ones among them. What the table is sorted by is in
    -- PREWHERE: every version of a bar passes it alike, so FINAL still sees them all, and the other columns are read for
    -- these rows only.
    FROM bars FINAL
    PREWHERE exchange = {exchange:String}
        AND symbol = {symbol:String}
        AND interval = {base:UInt32}
        AND bars.open_time >= toDateTime({start:UInt32}, 'UTC')
        AND bars.open_time < toDateTime({end:UInt32}, 'UTC')
