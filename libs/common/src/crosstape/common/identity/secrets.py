"""Secrets that are replaced without a gap: a setting `new,old`, of which the first makes what all of them take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, SecretStr

SMALLEST_SECRET = 32
"""Bytes, as RFC 7518, 3.2 asks of HS256, and as many as a key has that is derived from one."""


def check_secrets(secrets: Sequence[str]) -> None:
    """Raises ValueError for no secret, or one that is too short."""
    if not secrets or any(len(secret.encode()) < SMALLEST_SECRET for secret in secrets):
        raise ValueError(f"a secret has at least {SMALLEST_SECRET} bytes")


def secrets_in(setting: SecretStr) -> list[str]:
    """Those that are written in `setting`, the first one first."""
    return setting.get_secret_value().split(",")


def _checked(setting: SecretStr) -> SecretStr:
    check_secrets(secrets_in(setting))
    if re.search(r"\s,|,\s", setting.get_secret_value()):
        raise ValueError("there is no space around the comma: it would be a part of a secret")
    return setting


SecretList = Annotated[SecretStr, AfterValidator(_checked)]
"""A setting of one or several secrets."""
