"""Why a request with an ``Idempotency-Key`` is not carried out."""

from typing import Final

from kroma.errors import ConflictError, InvalidRequestError

HEADER: Final = "Idempotency-Key"
MAX_KEY_CHARACTERS: Final = 255


class InvalidKeyError(InvalidRequestError):
    """The header is not a key."""

    code = "invalid_idempotency_key"
    text = f"Header '{HEADER}' must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters, given once"


class KeyReusedError(InvalidRequestError):
    """The key stands for another request."""

    code = "idempotency_key_reused"
    text = f"Header '{HEADER}': this key was used with another request on this path"


class RequestInFlightError(ConflictError):
    """The first request with this key is not answered yet."""

    code = "request_in_flight"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Header '{HEADER}': the first request with this key is still in flight")
        self.retry_after_s = retry_after_s


class OutcomeUnknownError(ConflictError):
    """The first request changed something, and its answer was lost with its process."""

    code = "outcome_unknown"
    text = (
        f"Header '{HEADER}': the request with this key was applied, but its answer was lost; "
        "it is not applied again, so read back what it changed"
    )


class AnswerNotKeptError(ConflictError):
    """The first request was answered, and its answer is not there to be given again."""

    code = "answer_not_kept"

    def __init__(self, size_bytes: int | None = None) -> None:
        """A secret, which is shown once; or with ``size_bytes`` one that is too large to be kept so long."""
        if size_bytes is None:
            problem = "the request with this key succeeded; its answer held a secret and is not shown again"
        else:
            problem = (
                f"the request with this key was carried out; its answer of {size_bytes} bytes is no longer "
                "kept, and it is not carried out again"
            )
        super().__init__(f"Header '{HEADER}': {problem}")
