"""When what failed is tried again: by the kind of error, exponentially, with full jitter."""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec

from kroma.db.base import utc_now
from kroma.errors import KromaError


class Pace(msgspec.Struct, frozen=True):
    """How fast the ceiling of the waits rises."""

    base: timedelta
    """After the first attempt; doubled after each further one."""
    cap: timedelta


INFRA: Final = Pace(timedelta(seconds=2), timedelta(minutes=5))
PACES: Final[Mapping[str, Pace]] = {
    "infra": INFRA,
    "provider": Pace(timedelta(seconds=4), timedelta(minutes=5)),
    "unknown": Pace(timedelta(seconds=15), timedelta(minutes=10)),
}
"""By ``KromaError.kind``. ``unknown`` are bugs of ours: the same code will most likely fail again."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """A further attempt."""

    after: timedelta
    attempts_used: int
    """1, or 0 when the work was only told to come back later."""


def backoff(attempt: int, pace: Pace = INFRA) -> timedelta:
    """Anything from nothing to base, 2 base, 4 base ..., at most the cap.

    Full jitter spreads the retries of many jobs that failed together.

    Args:
        attempt: The attempt that failed, from 1.
        pace: Of the kind of error.
    """
    ceiling = min(pace.cap, pace.base * 2 ** min(attempt - 1, 16))
    return ceiling * random.random()  # noqa: S311 - spreads load, keeps no secret


def next_try(error: KromaError, *, attempt: int, is_last: bool) -> Retry | None:
    """Whether and when to try again what ended with ``error``; None is never."""
    if error.not_before is not None:
        wait = error.not_before - utc_now()
        # Those who were told the same moment should not all come at it.
        return Retry(after=max(wait, timedelta()) + timedelta(seconds=random.random()), attempts_used=0)  # noqa: S311 - spreads load, keeps no secret
    if not error.retryable or is_last:
        return None
    return Retry(after=backoff(attempt, PACES.get(error.kind, INFRA)), attempts_used=1)
