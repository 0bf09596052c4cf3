"""What auth counts. Labels are words of ours, never what a client wrote."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("crosstape_auth_events_total", "Security events, by the names of the audit log", ["event"])
THROTTLED = Counter("crosstape_auth_throttled_total", "Attempts refused before any password was hashed", ["kind"])
HASH_SECONDS = Histogram(
    "crosstape_auth_hash_seconds", "One argon2 computation", buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1)
)
HASHES_REFUSED = Counter("crosstape_auth_hashes_refused_total", "Attempts refused because too many waited for argon2")
UNPUBLISHED = Gauge("crosstape_auth_revocations_unpublished", "Live revocations that Redis lacks; -1: Redis is away")
