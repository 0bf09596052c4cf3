"""Reads one exchange's live feed, verifies and repairs it, and publishes it on the bus."""
