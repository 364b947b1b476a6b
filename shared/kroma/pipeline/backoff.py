"""How long a job waits before its next attempt."""

import random
from datetime import timedelta
from typing import Final

BASE: Final = timedelta(seconds=2)
CAP: Final = timedelta(minutes=5)


def backoff(attempt: int) -> timedelta:
    """Exponential with full jitter: anything from nothing to 2, 4, 8 ... seconds, at most 5 minutes.

    Full jitter spreads the retries of many jobs that failed together.

    Args:
        attempt: The attempt that failed, from 1.
    """
    ceiling = min(CAP, BASE * 2 ** min(attempt - 1, 16))
    return ceiling * random.random()  # noqa: S311 - spreads load, keeps no secret
