"""How the status of a provider call moves.

::

    intent -> sent -> settled | refused | unknown
    intent -> refused (never sent)
    unknown -> settled | refused (asked, or decided by a person)

As with runs and jobs (``kroma.runs.states``), a trigger of the database refuses any other move.
"""

from collections.abc import Mapping
from typing import Final

from kroma.ledger.models import CallStatus

CALL_MOVES: Final[Mapping[CallStatus, frozenset[CallStatus]]] = {
    CallStatus.INTENT: frozenset({CallStatus.SENT, CallStatus.REFUSED}),
    CallStatus.SENT: frozenset({CallStatus.SETTLED, CallStatus.REFUSED, CallStatus.UNKNOWN}),
    CallStatus.UNKNOWN: frozenset({CallStatus.SETTLED, CallStatus.REFUSED}),
}
"""Legal moves; a status that is no key is an end."""
