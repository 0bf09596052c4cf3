"""Settings of auth, read once from `CROSSTAPE_*` variables."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from crosstape.auth.passwords import check_password
from crosstape.auth.sealing import Sealer
from crosstape.common.errors import ValidationFailed
from crosstape.common.identity.secrets import SecretList, secrets_in
from crosstape.common.redis_url import RedisUrl
from crosstape.common.runtime.settings import InternalSettings, ServiceSettings
from crosstape.common.sql import DatabaseUrl

ADMIN = "admin"
"""The name of the account that is made at the first start."""


class StoreSettings(ServiceSettings):
    """Where accounts are kept and who is told of revocations: what the operator's commands read too."""

    auth_database_url: DatabaseUrl = Field(
        "sqlite:////var/lib/crosstape/auth.db",
        description="`sqlite:////absolute/path` (embedded) or `postgresql://user:password@host:port/database`",
    )
    signing_key_secret: SecretList = Field(
        description="at least 32 bytes, for auth alone: seals the signing keys in its database; "
        "`new,old` while it is changed"
    )
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="`redis://` URL of revocations and throttling")
    access_token_seconds: int = Field(900, ge=30, le=3600, description="life of an access token")
    refresh_token_seconds: int = Field(
        30 * 86_400, ge=60, description="life of a refresh token; every use gives a new one"
    )
    argon2_memory_kib: int = Field(
        19_456,
        ge=8,
        description="memory of one password hash; OWASP asks for 19456 with two passes. After a change an unknown name "
        "takes another time than a wrong password of an account that has not logged in since",
    )
    argon2_passes: int = Field(2, ge=1, description="passes over that memory")

    @model_validator(mode="after")
    def _logins_outlive_their_tokens(self) -> Self:
        if self.refresh_token_seconds < self.access_token_seconds:
            raise ValueError("CROSSTAPE_REFRESH_TOKEN_SECONDS must be at least CROSSTAPE_ACCESS_TOKEN_SECONDS")
        return self

    @property
    def sealer(self) -> Sealer:
        return Sealer(secrets_in(self.signing_key_secret))


class AuthSettings(InternalSettings, StoreSettings):
    """What the service reads."""

    admin_password: SecretStr | None = Field(
        None,
        description=f"of the account `{ADMIN}`, made when there is no admin yet; "
        "without it one is invented and logged once",
    )

    @field_validator("admin_password")
    @classmethod
    def _is_good(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None:
            try:
                check_password(password.get_secret_value(), ADMIN)
            except ValidationFailed as error:
                raise ValueError(error.message) from None
        return password
