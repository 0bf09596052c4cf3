"""What a PromQL expression names: its series, and the labels that it looks at."""

from collections.abc import Iterator
from typing import Any

import promql_parser

TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus gives every series of a scraped process."""

BUILT_IN = {"up": TARGET_LABELS, "ALERTS": frozenset({"alertname", "alertstate"})}

GRAFANA = {"$__rate_interval": "1m", "$exchange": ".*"}


def problems(expression: str, metrics: dict[str, frozenset[str]]) -> list[str]:
    """What is wrong with `expression`, where `metrics` are all series that there are, with their labels."""
    for variable, example in GRAFANA.items():
        expression = expression.replace(variable, example)
    known = {name: labels | TARGET_LABELS for name, labels in metrics.items()} | BUILT_IN
    return [*_problems(promql_parser.parse(expression), known)]


def _problems(node: Any, known: dict[str, frozenset[str]]) -> Iterator[str]:
    there = {selector.name: known[selector.name] for selector in _selectors(node) if selector.name in known}
    for selector in _selectors(node):
        if selector.name not in known:
            yield f"no process exposes {selector.name}"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in known[selector.name]:
                yield f"{selector.name} has no label {matcher.name}"
    for aggregation in _nodes(node):
        if isinstance(aggregation, promql_parser.AggregateExpr) and aggregation.modifier:
            labels = frozenset().union(*(there.get(each.name, frozenset()) for each in _selectors(aggregation)))
            for label in set(aggregation.modifier.labels) - labels:
                yield f"nothing in {aggregation.prettify()} has a label {label}"


def _selectors(node: Any) -> Iterator[Any]:
    return (each for each in _nodes(node) if isinstance(each, promql_parser.VectorSelector))


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (child := getattr(node, name, None)) is not None:
            yield from _nodes(child)
    arguments = getattr(node, "args", None)
    for child in arguments if isinstance(arguments, list) else ():
        yield from _nodes(child)
