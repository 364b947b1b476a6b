"""What all services that draw for money answer alike."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

LEAST_ANSWER_PX: Final = 16
"""Of the shorter side: what is smaller is a sign that something went wrong, like a tracking pixel."""
_LONGEST_WAIT: Final = timedelta(days=1)


def retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> timedelta | None:
    """How long ``Retry-After`` asks to wait, in seconds or until a date; at most a day."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now or datetime.now(UTC))
    if not math.isfinite(seconds):
        return None
    return min(max(timedelta(), timedelta(seconds=min(seconds, 1e9))), _LONGEST_WAIT)


def _seconds_until(text: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
