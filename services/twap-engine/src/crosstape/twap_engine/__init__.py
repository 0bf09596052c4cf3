"""TWAP orders as an execution service: durable schedules, slices that run exactly once, and what they cost."""
