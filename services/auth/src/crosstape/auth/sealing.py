"""Signing keys at rest: whoever reads the database, or a backup of it, gets none without the secret beside it."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crosstape.common.errors import WrongSetting
from crosstape.common.identity.secrets import check_secrets

_PURPOSE = b"crosstape: signing keys at rest"
"""A secret that was given to something else too yields another key there."""


class NotOpened(WrongSetting):
    """None of the secrets opens what is sealed, or it was changed since."""

    def __init__(self) -> None:
        super().__init__(
            "none of the secrets in CROSSTAPE_SIGNING_KEY_SECRET opens a signing key in the database: add the one that "
            "it was sealed with (new,old), or see docs/how-to/restore.md when that one is lost"
        )


class Sealer:
    """Seals with the first of `secrets`, opens with any of them."""

    def __init__(self, secrets: Sequence[str]):
        """Raises ValueError for no secret, or one that is too short."""
        check_secrets(secrets)
        fernets = [Fernet(_key(secret)) for secret in secrets]
        self._first, self._any = fernets[0], MultiFernet(fernets)

    def seal(self, content: bytes) -> str:
        """Never twice the same."""
        return self._first.encrypt(content).decode()

    def open(self, sealed: str) -> bytes:
        """What was sealed. Raises NotOpened."""
        return _opened(self._any, sealed)

    def renewed(self, sealed: str) -> str:
        """The same content, sealed with the first secret: `sealed` itself when it is. Raises NotOpened."""
        try:
            _opened(self._first, sealed)
        except NotOpened:
            return self.seal(self.open(sealed))
        return sealed


def _opened(fernet: Fernet | MultiFernet, sealed: str) -> bytes:
    try:
        return fernet.decrypt(sealed.encode())
    except InvalidToken:
        raise NotOpened from None


def _key(secret: str) -> bytes:
    """A secret is random already: this spreads it over a key, and need not be slow as for a password."""
    return urlsafe_b64encode(HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode()))
