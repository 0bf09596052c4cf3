"""Settings that make no sense together."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from crosstape.auth.settings import StoreSettings


def test_a_login_does_not_end_before_its_access_token() -> None:
    """Its row would be gone, and auth alone would refuse a token that all others take."""
    shortest = {"signing_key_secret": "s" * 32, "access_token_seconds": 900}
    assert StoreSettings(**shortest, refresh_token_seconds=900)
    with pytest.raises(ValidationError, match="CROSSTAPE_REFRESH_TOKEN_SECONDS must be at least"):
        StoreSettings(**shortest, refresh_token_seconds=899)


@pytest.mark.parametrize("secrets", ["{new}, {old}", "{new} ,{old}", "{new},{old}\n,{old}"])
def test_a_space_beside_a_comma_is_no_part_of_a_secret(secrets: str) -> None:
    both = secrets.format(new="n" * 32, old="o" * 32)
    with pytest.raises(ValidationError, match="no space around the comma"):
        StoreSettings(signing_key_secret=SecretStr(both))
