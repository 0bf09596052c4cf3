"""Readers of protocols that no dialect speaks, for recordings of them. None of these is in the registry."""
