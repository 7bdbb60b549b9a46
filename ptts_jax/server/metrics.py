"""Numbers about the server in Prometheus' text format: counters, histograms, and what is now."""

import threading
from bisect import bisect_left
from collections import Counter

BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds
FACTORS = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)  # times real time

_HELP = {
    "ptts_requests_total": "requests for speech, by how they ended",
    "ptts_audio_seconds_total": "seconds of audio made",
    "ptts_gaps_total": "times that a listener waited for audio",
    "ptts_queue_seconds": "from a request to its first work",
    "ptts_first_audio_seconds": "from a request to its first audio",
    "ptts_request_seconds": "from a request to its end",
    "ptts_models": "models in memory",
    "ptts_realtime_factor": "seconds of audio for each second, of a request from its first work on",
    "ptts_errors_total": "answers that are errors, by their status",
    "ptts_slots": "rows of a step at most, of all models",
    "ptts_open": "requests that are spoken",
    "ptts_waiting": "requests that wait for a row",
}


class Metrics:
    """Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()  # (name, labels)
        self._buckets: dict[str, list[int]] = {}  # per bound, and above them all
        self._sums: Counter[str] = Counter()

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        with self._lock:
            self._counts[name, f"{{{shown}}}" if shown else ""] += by  # type: ignore[assignment]

    def observe(self, name: str, value: float) -> None:
        """Adds to a histogram."""
        bounds = _bounds(name)
        with self._lock:
            buckets = self._buckets.setdefault(name, [0] * (len(bounds) + 1))
            buckets[bisect_left(bounds, value)] += 1
            self._sums[name] += value  # type: ignore[assignment]

    def text(self, now: dict[str, float]) -> str:
        """Everything, with what is now."""
        with self._lock:
            lines = [line for name in _HELP for line in self._lines(name, now)]
        return "\n".join(lines) + "\n"

    def _lines(self, name: str, now: dict[str, float]) -> list[str]:
        if name in now:
            kind, lines = "gauge", [f"{name} {now[name]:g}"]
        elif name in self._buckets:
            kind, lines, total = "histogram", [], 0
            for bound, count in zip((*_bounds(name), "+Inf"), self._buckets[name], strict=True):
                total += count
                lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
            lines += [f"{name}_sum {self._sums[name]:g}", f"{name}_count {total}"]
        else:
            kind = "counter"
            lines = [
                f"{key}{labels} {n:g}" for (key, labels), n in self._counts.items() if key == name
            ]
        return [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kind}", *lines] if lines else []


def _bounds(name: str) -> tuple[float, ...]:
    return BOUNDS if name.endswith("_seconds") else FACTORS
