"""Builders and hypothesis strategies for tests; never imported at run time."""
