"""Tests that one platform serves: it runs once for all of them."""
