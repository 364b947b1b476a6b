"""How a reader says from where it wants events, and in which form."""

from typing import Annotated, Final

from litestar.params import HeaderParameter, QueryParameter

from kroma.errors import InvalidRequestError

LAST_EVENT: Final = 2**63 - 1

Accept = Annotated[
    str | None,
    HeaderParameter(name="Accept", description="`text/event-stream` asks for a stream; else it is a list"),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The last event that was seen; beats `after`"),
]
AfterEvent = Annotated[int | None, QueryParameter(description="The id of the last event that was seen")]


class InvalidEventIdError(InvalidRequestError):
    """The header is not the id of an event."""

    text = "Header 'Last-Event-ID' must be the id of an event, a whole number"


def event_number(text: str) -> int:
    """The number of an event as a header holds it; empty is the beginning.

    Raises:
        InvalidEventIdError: It is no number.
    """
    digits = text.strip() or "0"
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(LAST_EVENT))):
        raise InvalidEventIdError
    return int(digits)
