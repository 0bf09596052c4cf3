-- The end (Unix s) of the last closed minute of any market of those that open from `since` (Unix s) on; 0 without one.
SELECT if(count() = 0, 0, toUnixTimestamp(max(open_time)) + 60)
FROM bars
WHERE interval = 60 AND open_time >= toDateTime({since:UInt32}, 'UTC')
