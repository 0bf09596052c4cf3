"""How a person gets in: the operator's login of this platform, and an API key to try things with."""

from dataclasses import dataclass

from crosstape.cli.home import Home
from crosstape.cli.http import ask_json

USERNAME = "admin"
SCOPES = ("market:read", "orders:read", "orders:write")


@dataclass(frozen=True, slots=True)
class Access:
    """An account's name and password, and an API key of it."""

    username: str
    password: str
    api_key: str


def access(gateway: str, home: Home) -> Access:
    """The operator's account and the key that an earlier run made, or a new one. CliError when auth refuses."""
    password = home.secret("admin_password")
    login = ask_json(gateway, "/login", method="POST", body={"username": USERNAME, "password": password})
    token = login["access_token"]
    key = home.kept_secret("api_key")
    if not any(key.startswith(known["prefix"]) for known in ask_json(gateway, "/api-keys", token=token)):
        wanted = {"name": "made at a start on this machine", "scopes": SCOPES}
        made = ask_json(gateway, "/api-keys", method="POST", body=wanted, token=token)
        key = home.keep_secret("api_key", made["api_key"])
    return Access(USERNAME, password, key)
