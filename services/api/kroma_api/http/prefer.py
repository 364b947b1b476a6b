"""``Prefer: wait=N`` (RFC 7240): how long a caller likes to wait for the end of a run."""

import re
from datetime import timedelta
from typing import Final

LONGEST_WAIT_S: Final = 60
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.ASCII | re.IGNORECASE)


def preferred_wait(header: str | None) -> timedelta | None:
    """The wait asked for, at most a minute; None when there is none or it makes no sense."""
    found = _WAIT.search(header or "")
    return None if found is None else timedelta(seconds=min(int(found[1]), LONGEST_WAIT_S))
