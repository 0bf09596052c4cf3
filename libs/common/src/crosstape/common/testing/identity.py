"""Identity in tests: the secrets of every service that a test starts, and the headers that one of them proves."""

from __future__ import annotations

from crosstape.common.identity.internal import InternalTokens

INTERNAL_SECRET = "known to every test and therefore no secret at all"  # noqa: S105
SIGNING_KEY_SECRET = "auth's alone in every test and no secret either"  # noqa: S105


def own_headers(audience: str) -> dict[str, str]:
    """The header of a service's own request to the service `audience`."""
    return InternalTokens("tests", [INTERNAL_SECRET]).own(audience)
