"""The aggregated order book of several exchanges, live in a terminal."""
