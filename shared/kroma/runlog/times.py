"""Time as run logs write it."""

from datetime import datetime


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as run logs write time."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
