"""How measured times become a line of the report."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

Pairs = Sequence[tuple[float, float]]
"""Milliseconds of Kroma and of the raw primitive in each round."""
Statistic = Callable[[Sequence[float]], float]
PARTS: Final = 5
"""The rounds are divided into this many parts, in order, to measure the spread of the ratio."""


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; of fewer than 20 values, the largest."""
    return percentile(values, 0.95)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed; ``share`` is from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def once_ms(function: Callable[[], object]) -> float:
    """The duration of one call."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def spread(values: Sequence[float]) -> list[float]:
    """The smallest and the largest value."""
    return [round(min(values), 2), round(max(values), 2)]


def line(
    name: str,
    pairs: Pairs,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    of: Statistic = statistics.median,
) -> dict[str, Any]:
    """A line that compares two times.

    Args:
        name: What was measured.
        pairs: Times of alternating rounds, so that a busy machine slows both.
        at_most: The target if the ratio is Kroma's time divided by the raw time.
        at_least: The target if the ratio is the raw time divided by Kroma's.
        of: The statistic that is compared with the target; the line also has the medians.
    """

    def ratio(some: Pairs) -> float:
        ours, raw = (of([pair[side] for pair in some]) for side in (0, 1))
        return ours / raw if at_least is None else raw / ours

    step = max(1, math.ceil(len(pairs) / PARTS))
    parts = [pairs[start : start + step] for start in range(0, len(pairs), step)]
    ours, raw = ([pair[side] for pair in pairs] for side in (0, 1))
    found = ratio(pairs)
    return {
        "name": name,
        "ours_ms": round(of(ours), 3),
        "raw_ms": round(of(raw), 3),
        "p50_ms": [round(statistics.median(ours), 3), round(statistics.median(raw), 3)],
        "ratio": round(found, 2),
        "spread": spread([ratio(part) for part in parts]),
        "target": f">={at_least:g}" if at_most is None else f"<={at_most:g}",
        "ok": found >= at_least if at_least is not None else at_most is None or found <= at_most,
    }
