"""Identity in tests: one internal secret for every service that a test starts, and the headers it proves."""

from __future__ import annotations

from crosstape.common.identity.internal import InternalTokens

INTERNAL_SECRET = "known to every test and therefore no secret at all"  # noqa: S105


def own_headers(audience: str) -> dict[str, str]:
    """The header of a service's own request to the service `audience`."""
    return InternalTokens("tests", [INTERNAL_SECRET]).own(audience)
