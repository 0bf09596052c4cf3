"""Recorded frames in place of simulated markets."""
