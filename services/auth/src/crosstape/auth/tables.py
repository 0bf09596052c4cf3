"""The tables of auth. Times are whole Unix seconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from crosstape.common.identity.principal import Role


class Base(DeclarativeBase):
    """What the migrations must amount to; a test compares them."""


class User(Base):
    """An account. `credentials_version` rises with every change of its password or role."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    username: Mapped[str] = mapped_column(String(64))
    username_key: Mapped[str] = mapped_column(String(255), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    credentials_version: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(BigInteger)

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN


class DeletedUser(Base):
    """An account that was deleted. An id that is neither here nor in `users` is of another or a later database."""

    __tablename__ = "deleted_users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)


class LoginSession(Base):
    """A login and all tokens that come of it: `sid` of its access tokens, the family of its refresh tokens."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class RefreshToken(Base):
    """One refresh token, by its SHA-256; a used one is kept so that its second use is noticed."""

    __tablename__ = "refresh_tokens"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


class ApiKey(Base):
    """An API key, by the SHA-256 of its secret (256 random bits need no slow hash). Revoked means gone."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    last_used_at: Mapped[int | None] = mapped_column(BigInteger)


class SigningKey(Base):
    """An Ed25519 key, sealed: published from `created_at`, signs from `signs_from`, in the JWKS until `retires_at`."""

    __tablename__ = "signing_keys"
    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    private_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    signs_from: Mapped[int] = mapped_column(BigInteger)
    retires_at: Mapped[int | None] = mapped_column(BigInteger)


class Revocation(Base):
    """An entry of `common.identity.revocations`, and until when what it ends could be shown."""

    __tablename__ = "revocations"
    entry: Mapped[str] = mapped_column(String(255), primary_key=True)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class AuditEvent(Base):
    """A security event. `username` is empty where no account has the name that was tried."""

    __tablename__ = "audit_log"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    time: Mapped[int] = mapped_column(BigInteger, index=True)
    event: Mapped[str] = mapped_column(String(32))
    username: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)
