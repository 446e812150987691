"""Prometheus metrics: cheap to count on the paying path, merged over all workers when somebody asks.

`slots` keeps the numbers, `registry` names them and writes the text, `payments` counts what happens to payments.
"""

from livepeer_remote_signer.adapters.metrics.registry import Counter, Histogram, Latest, Level, Metrics, Tally
from livepeer_remote_signer.adapters.metrics.slots import Slots

__all__ = ["Counter", "Histogram", "Latest", "Level", "Metrics", "Slots", "Tally"]
