from datetime import datetime


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as in run logs."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
