"""What an operator runs, held to the code: image, compose file, manifests, alerts, dashboards and runbooks."""
