"""A strict reader of Prometheus' text format 0.0.4, written from its description."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? ([+-]?Inf|NaN|[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)")


@dataclass
class Metric:
    """One metric: its type, and its samples by suffix and labels."""

    kind: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        """The one sample with exactly these labels."""
        return self.samples[suffix, frozenset(labels.items())]


def parse_labels(text: str) -> frozenset[tuple[str, str]]:
    """The pairs between the braces; AssertionError when they are not well formed."""
    pairs, position = [], 0
    while position < len(text):
        match = _LABEL.match(text, position)
        assert match is not None, f"not labels: {text!r}"
        value = match[2].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        pairs.append((match[1], value))
        position = match.end()
    assert len({name for name, _ in pairs}) == len(pairs), f"a label stands twice: {text!r}"
    return frozenset(pairs)


def parse_metrics(raw: bytes) -> dict[str, Metric]:
    """All metrics of a scrape; AssertionError when a line is not of the format or a rule is broken."""
    text = raw.decode("utf-8")
    assert text.endswith("\n")
    metrics: dict[str, Metric] = {}
    helped: str | None = None
    current = ""
    for line in text[:-1].split("\n"):
        if match := _HELP.fullmatch(line):
            helped = match[1]
            continue
        if match := _TYPE.fullmatch(line):
            assert match[1] == helped, f"HELP and TYPE belong together: {line!r}"
            assert match[1] not in metrics, f"{match[1]} stands twice"
            current = match[1]
            metrics[current] = Metric(match[2])
            continue
        match = _SAMPLE.fullmatch(line)
        assert match is not None, f"not a line of the format: {line!r}"
        suffix = match[1].removeprefix(current)
        metric = metrics[current]
        allowed = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        assert match[1].startswith(current), f"{match[1]} is not part of {current}"
        assert suffix in allowed, f"{match[1]} is not part of {current}"
        key = (suffix, parse_labels(match[2] or ""))
        assert key not in metric.samples, f"a sample stands twice: {line!r}"
        metric.samples[key] = float(match[3].replace("Inf", "inf"))
    for name, metric in metrics.items():
        assert metric.samples, f"{name} has no sample"
        if metric.kind == "counter":
            assert min(metric.samples.values()) >= 0, f"the counter {name} is negative"
        if metric.kind == "histogram":
            check_histogram(name, metric)
    return metrics


def check_histogram(name: str, metric: Metric) -> None:
    """Buckets grow, the last is +Inf and equals the count."""
    for suffix, labels in list(metric.samples):
        if suffix != "_count":
            continue
        buckets = sorted(
            (float(dict(pairs)["le"].replace("Inf", "inf")), value)
            for (kind, pairs), value in metric.samples.items()
            if kind == "_bucket" and frozenset(p for p in pairs if p[0] != "le") == labels
        )
        counts = [value for _, value in buckets]
        assert counts == sorted(counts), f"{name}: buckets are cumulative"
        assert buckets[-1] == (float("inf"), metric.samples[suffix, labels]), f"{name}: +Inf counts all"
        assert ("_sum", labels) in metric.samples
