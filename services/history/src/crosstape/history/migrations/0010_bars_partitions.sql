-- How many partitions the topic of trades had when the bar was closed: so a bar says of which other markets all that came
-- before it is stored.
ALTER TABLE bars $on_cluster ADD COLUMN IF NOT EXISTS partitions UInt32 DEFAULT 6 CODEC(ZSTD(1))
