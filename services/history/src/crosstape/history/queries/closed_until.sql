-- The end (Unix s) of the market's last closed bar of a stored interval (`base` seconds).
SELECT $closed_until
