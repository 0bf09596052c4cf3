"""Accounts and the credentials that prove them: the only service that sees a password."""
