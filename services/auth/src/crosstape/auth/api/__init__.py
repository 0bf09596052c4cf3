"""The routes of auth: parse, ask, shape."""
