-- What has been applied. Several processes may apply the same file at once: all of them write the same row.
CREATE TABLE IF NOT EXISTS schema_migrations $on_cluster
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (name, checksum)
