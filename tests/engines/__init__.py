"""Fixtures that start the real engines, and the tests of those engines."""
