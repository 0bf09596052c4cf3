    if(
        {seconds:UInt32} = 2678400,
        toUnixTimestamp(toDateTime(toStartOfMonth(toDateTime(timestamp, 'UTC')) + INTERVAL 1 MONTH, 'UTC')),
        timestamp + {seconds:UInt32}
    )
