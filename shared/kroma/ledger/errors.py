"""Why a call is not made now, or not again."""

from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from kroma.db.base import utc_now
from kroma.errors import ConflictError, KromaError, NotFoundError, ProviderError


class ClaimGoneError(Exception):
    """A newer claim holds the job, or it has ended: no call may be made for this one."""


class CallLaterError(ProviderError):
    """No call now; the job is given back until it is worth trying, which uses up no attempt."""

    retryable = True
    is_of_no_use: ClassVar[bool] = False
    """Whether waiting alone changes nothing, since a person must act."""

    def __init__(self, text: str, *, wait: timedelta) -> None:
        super().__init__(text)
        self.wait = wait
        """How long a try is of no use."""
        self.not_before = utc_now() + wait


class ProviderPausedError(CallLaterError):
    """The project's calls of this provider stand still until a person has changed something."""

    code = "provider_paused"
    is_of_no_use = True

    def __init__(self, provider: str, reason: str | None) -> None:
        super().__init__(
            f"Provider '{provider}' is paused for this project: {reason or 'no reason given'}",
            wait=timedelta(),
        )


class ProjectPausedError(CallLaterError):
    """The project's jobs stand still until it is resumed."""

    kind = "policy"
    code = "project_paused"
    is_of_no_use = True

    def __init__(self, reason: str | None) -> None:
        super().__init__(f"The project is paused{f': {reason}' if reason else ''}", wait=timedelta())


class CircuitOpenError(CallLaterError):
    """The provider looked dead several times in a row and is left alone for a while."""

    code = "provider_circuit_open"

    def __init__(self, provider: str, *, failures: int, wait: timedelta) -> None:
        super().__init__(
            f"Provider '{provider}' did not respond {failures} times in a row; it is tried again in"
            f" {max(1, round(wait.total_seconds()))} s",
            wait=wait,
        )


class RateLimitedError(CallLaterError):
    """Our limit, or the provider's own, allows the next call later."""

    code = "provider_rate_limited"

    def __init__(self, provider: str, *, wait: timedelta) -> None:
        super().__init__(
            f"Provider '{provider}' takes the next call in {max(1, round(wait.total_seconds()))} s", wait=wait
        )


class ProviderBusyError(CallLaterError):
    """As many calls as allowed are under way."""

    code = "provider_busy"

    def __init__(self, provider: str, *, limit: int) -> None:
        super().__init__(
            f"Provider '{provider}' has {limit} calls in flight, which is the limit", wait=timedelta()
        )


class RetriesSpentError(ProviderError):
    """The provider refused until the budget of further calls was spent."""

    code = "provider_refused"

    def __init__(self, reason: str, *, calls: int) -> None:
        super().__init__(f"{reason} (asked {calls} times)")


class AnswerUnknownError(ProviderError):
    """A call's answer was lost; it may have been charged, so only a person may have it repeated."""

    code = "provider_answer_lost"

    def __init__(self, provider: str, call_id: UUID) -> None:
        super().__init__(
            f"The response of provider '{provider}' was lost, and you may have been charged, so the call is "
            f"not repeated; resolve provider call {call_id} as charged or not_charged"
        )


class AnswerNotKeptError(ProviderError):
    """A call was charged, but its picture is gone."""

    code = "provider_answer_not_kept"

    def __init__(self, provider: str, reason: str | None = None) -> None:
        super().__init__(
            reason or f"Provider '{provider}' charged for a picture that could not be kept; run the job again"
        )


class ProviderCallNotFoundError(NotFoundError):
    """The project has no such call, or does not exist itself."""

    text = "Provider call not found"


class CallNotUnknownError(ConflictError):
    """Only a call whose answer was lost waits for a person's word."""

    code = "provider_call_not_unknown"

    def __init__(self, status: str, resolution: str | None) -> None:
        said = f", resolved as {resolution}" if resolution else ""
        super().__init__(f"Only a call with status 'unknown' can be resolved; this one is '{status}'{said}")


def named(error: BaseException) -> str:
    """An error as people may read it: what is not ours is only named."""
    return error.message if isinstance(error, KromaError) else type(error).__name__
