"""Why a request with an ``Idempotency-Key`` is not carried out."""

from typing import Final

from kroma.errors import ConflictError, InvalidRequestError

HEADER: Final = "Idempotency-Key"
MAX_KEY_CHARACTERS: Final = 255


class InvalidKeyError(InvalidRequestError):
    """The header is not a key."""

    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__(
            f"Header '{HEADER}' must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters, given once"
        )


class KeyReusedError(InvalidRequestError):
    """The key stands for another request."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(f"Header '{HEADER}': this key was used with another request on this path")


class RequestInFlightError(ConflictError):
    """The first request with this key is not answered yet."""

    code = "request_in_flight"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Header '{HEADER}': the first request with this key is still in flight")
        self.retry_after_s = retry_after_s


class OutcomeUnknownError(ConflictError):
    """The first request changed something, and its answer was lost with its process."""

    code = "outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            f"Header '{HEADER}': the request with this key was applied, but its answer was lost; "
            "it is not applied again, so read back what it changed"
        )


class AnswerNotKeptError(ConflictError):
    """The first request was answered with a secret, which is shown once."""

    code = "answer_not_kept"

    def __init__(self) -> None:
        super().__init__(
            f"Header '{HEADER}': the request with this key succeeded; its answer held a secret "
            "and is not shown again"
        )
