"""Several real services together, faults included."""
