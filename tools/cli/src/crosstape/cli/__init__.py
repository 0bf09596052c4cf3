"""The `crosstape` command: one supervisor for the whole platform on one machine, and the tools of its operator."""
