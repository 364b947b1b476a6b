"""How measured times become a line of the report."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

Pairs = Sequence[tuple[float, float]]
"""Milliseconds of ours and of the raw primitive, round by round."""
Statistic = Callable[[Sequence[float]], float]
PARTS: Final = 5
"""Into which the rounds are cut, in order, to see how far the ratio spreads."""


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; of a few values the greatest."""
    return percentile(values, 0.95)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so many of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def once_ms(function: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def spread(values: Sequence[float]) -> list[float]:
    """The least and the greatest."""
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
        pairs: Of alternating rounds, so that a busy machine slows both.
        at_most: The target where the ratio is how many times as long ours takes.
        at_least: The target where it is how many times as fast ours is.
        of: What the target is about; the medians stand beside it in any case.
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
