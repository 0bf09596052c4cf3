"""The edge of the platform: one origin that bounds, routes, describes and answers; it owns no data."""
