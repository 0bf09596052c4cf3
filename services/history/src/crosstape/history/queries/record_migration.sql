INSERT INTO schema_migrations (name, checksum)
SELECT {name:String}, {checksum:String}
