    -- A bar as answers show it.
    open, high, low, close, volume, volume_delta, trades,
    multiIf(is_open, 'provisional', revision = 0, 'final', 'revised') AS status,
    revision,
    volume_unknown
