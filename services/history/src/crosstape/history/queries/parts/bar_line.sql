    concatWithSeparator(
        '|',
        toString(exchange), toString(symbol), toString(interval), toString(opened),
        toString(open), toString(high), toString(low), toString(close),
        toString(volume), toString(volume_delta), toString(volume_unknown), toString(trades),
        if(first_trade_uid = '', toString(first_trade_seq), first_trade_uid),
        if(last_trade_uid = '', toString(last_trade_seq), last_trade_uid)
    ) AS line
