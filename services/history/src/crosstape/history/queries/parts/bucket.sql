    -- The open of the bar of `seconds` that holds `bar`: weeks open on Monday (1970-01-05), months on the first.
    multiIf(
        {seconds:UInt32} = 2678400,
        toUnixTimestamp(toDateTime(toStartOfMonth(toDateTime(bar.open_time, 'UTC')), 'UTC')),
        {seconds:UInt32} = 604800,
        toUInt32(bar.open_time - (bar.open_time + 259200) % 604800),
        toUInt32(bar.open_time - bar.open_time % {seconds:UInt32})
    )
