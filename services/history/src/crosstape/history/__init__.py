"""The only owner of ClickHouse: stores the tape, recomputes bars from it, answers history."""
