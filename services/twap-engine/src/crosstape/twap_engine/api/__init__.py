"""The orders' routes."""
