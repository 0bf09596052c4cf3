-- The end (Unix s) of the market's last closed minute.
SELECT $closed_until
