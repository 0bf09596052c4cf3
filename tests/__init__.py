"""Tests across services, and what they share."""
