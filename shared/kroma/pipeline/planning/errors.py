"""Errors in requests to the pipeline (contract 1.6).

::

    InvalidRequestError                     validation
    |- InvalidModeError                     invalid_mode
    |- InvalidRunRequestError               invalid_request
    |- InvalidProjectSlugError              invalid_project_slug
    |- CandidateIndexError                  validation_error
    |- ProjectRootManagedError              project_root_managed
    |- ConfigFileError                      config_file_invalid, reported as one of the next two
    |- PlanningPreflightError               planning_preflight_failed
    |- ConfigValidationError                config_validation_failed
    `- InvalidQuoteTokenError               invalid_quote_token
    ConflictError                           validation
    |- RunNotAgainError                     run_not_repeatable
    |- NotSelectableError                   candidate_not_selectable, a 409
    `- NothingToLockError                   baseline_not_lockable, a 409
    PolicyError                             policy
    |- SpendConfirmationRequiredError       spend_confirmation_required
    |- PlanChangedError                     plan_changed, a 409
    `- CallsUnresolvedError                 provider_calls_unresolved
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from kroma.errors import ConflictError, InvalidRequestError, PolicyError
from kroma.storage.errors import ObjectNotFoundError, StoreError

_SHOWN_CHARACTERS = 1000


def shown(text: str) -> str:
    """A caller's text with control characters escaped, cut to 1,000 characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


class InvalidModeError(InvalidRequestError):
    """``mode`` is neither ``dry`` nor ``run``."""

    code = "invalid_mode"
    text = "Field 'mode' must be one of: dry, run"


class InvalidRunRequestError(InvalidRequestError):
    """The body breaks another rule of contract 3.8."""

    code = "invalid_request"


class SpendConfirmationRequiredError(PolicyError):
    """A paid run was requested without confirming the spend."""

    code = "spend_confirmation_required"
    text = "Run mode requires explicit spend confirmation"


class InvalidQuoteTokenError(InvalidRequestError):
    """A quote token is forged, expired or from another project."""

    code = "invalid_quote_token"

    def __init__(self, *, is_expired: bool) -> None:
        super().__init__(
            "Field 'quote_token' has expired; request a new quote"
            if is_expired
            else "Field 'quote_token' is not the token of a quote for this project; request a new quote"
        )


class PlanChangedError(PolicyError):
    """The plan or its price differs from the quote."""

    code = "plan_changed"
    text = (
        "The plan differs from the quoted one, because the request, settings, pictures or prices"
        " have changed; request a new quote"
    )


class RunNotAgainError(ConflictError):
    """The run cannot be retried or rerun in its current state."""

    code = "run_not_repeatable"


class CandidateIndexError(InvalidRequestError):
    """The job has no candidate of this index."""

    def __init__(self, job_key: str, indexes: Sequence[int]) -> None:
        known = ", ".join(map(str, sorted(indexes))) or "none"
        super().__init__(
            f"Field 'candidate_index' must be the index of a candidate of job '{job_key}': {known}"
        )


class NotSelectableError(ConflictError):
    """The run has not ended, or the candidate has no picture."""

    code = "candidate_not_selectable"


class NothingToLockError(ConflictError):
    """The run, or one of its jobs, has no picture that could become a baseline."""

    code = "baseline_not_lockable"


class CallsUnresolvedError(PolicyError):
    """Calls of the run may have been charged; repeating them could pay twice."""

    code = "provider_calls_unresolved"

    def __init__(self, calls: Sequence[tuple[str, int]]) -> None:
        named = ", ".join(f"candidate {index} of '{job_key}'" for job_key, index in calls)
        super().__init__(
            f"It is not yet known whether you were charged for {named};"
            " list provider-calls?status=unknown and resolve each call as charged or not_charged"
        )


class InvalidProjectSlugError(InvalidRequestError):
    """The slug identifies a project, but contains characters that a slug must not have."""

    code = "invalid_project_slug"

    def __init__(self, slug: str) -> None:
        super().__init__(f"Project slug '{shown(slug)}' may contain only ASCII letters, digits, '-' and '_'")


class ProjectRootManagedError(InvalidRequestError):
    """A validate-config request names a project root."""

    code = "project_root_managed"
    text = "Field 'project_root' is managed by project storage and cannot be overridden"


class ConfigFileError(InvalidRequestError):
    """A settings file, manifest or postprocess config cannot be used; ``problem`` is a whole clause."""

    code = "config_file_invalid"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{shown(path)}: {problem}")


class PlanningPreflightError(InvalidRequestError):
    """The run cannot be planned; nothing was stored."""

    code = "planning_preflight_failed"

    def __init__(self, problem: str) -> None:
        super().__init__(shown(problem))


@contextmanager
def as_preflight_errors() -> Generator[None]:
    """Raise invalid requests and failures of the project's store as `PlanningPreflightError`."""
    try:
        yield
    except PlanningPreflightError:
        raise
    except (InvalidRequestError, ObjectNotFoundError, StoreError) as exc:
        raise PlanningPreflightError(exc.message) from exc


class ConfigValidationError(InvalidRequestError):
    """A project's configuration is invalid; the text starts with the invalid part."""

    code = "config_validation_failed"

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part} validation failed: {problem}")
