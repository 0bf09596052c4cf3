"""Writes base/prometheus-rule.yaml from deploy/prometheus/alerts.yml: `python deploy/k8s/prometheus_rule.py`."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
ALERTS = HERE.parent / "prometheus" / "alerts.yml"
RESOURCE = HERE / "base" / "prometheus-rule.yaml"

HEAD = """\
# Made from deploy/prometheus/alerts.yml by deploy/k8s/prometheus_rule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: crosstape
spec:
"""


def rendered() -> str:
    """The resource that holds the alerts as they are."""
    lines = ALERTS.read_text().splitlines(keepends=True)
    groups = lines[lines.index("groups:\n") :]
    return HEAD + "".join(f"  {line}" if line.strip() else line for line in groups)


if __name__ == "__main__":
    RESOURCE.write_text(rendered())
