"""How every process lives: settings, logs, metrics, signals and drain."""
