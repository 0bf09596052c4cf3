"""How every HTTP service answers: errors, request ids, health and metrics."""
