"""What all services that draw for money answer alike."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from kroma.providers.base import ProviderAccess, ProviderKeyRefusedError

TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})
"""Refusals that say nothing against the request: the same may be sent again."""
LEAST_ANSWER_PX: Final = 16
"""Of the shorter side: what is smaller is a sign that something went wrong, like a tracking pixel."""
_LONGEST_WAIT: Final = timedelta(days=1)
_KEY: Final = re.compile(r"[!-~]+")


def usable_key(code: str, access: ProviderAccess) -> str:
    """The key of a provider's account.

    Raises:
        ProviderKeyRefusedError: There is none, or one that no header can carry.
    """
    if not access.api_key:
        raise ProviderKeyRefusedError(code, "there is no API key")
    if _KEY.fullmatch(access.api_key) is None:
        raise ProviderKeyRefusedError(code, "the API key contains characters that no key has")
    return access.api_key


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
