"""What a caller of a trigger or of validate-config can do wrong (contract 1.6).

::

    InvalidRequestError                     validation
    |- InvalidModeError                     invalid_mode
    |- InvalidRunRequestError               invalid_request
    |- InvalidProjectSlugError              invalid_project_slug
    |- CandidateIndexError                  validation_error
    |- ProjectRootManagedError              project_root_managed
    |- ConfigFileError                      config_file_invalid, met only inside the next two
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

from collections.abc import Sequence

from kroma.errors import ConflictError, InvalidRequestError, PolicyError

_SHOWN_CHARACTERS = 1000


def shown(text: str) -> str:
    """Text of a caller's, fit for one line of an error: no control characters, no end of it in sight."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


class InvalidModeError(InvalidRequestError):
    """``mode`` is neither ``dry`` nor ``run``."""

    code = "invalid_mode"
    text = "Field 'mode' must be one of: dry, run"


class InvalidRunRequestError(InvalidRequestError):
    """Any other rule of contract 3.8 about the body."""

    code = "invalid_request"


class SpendConfirmationRequiredError(PolicyError):
    """A paid run was requested without confirming the spend."""

    code = "spend_confirmation_required"
    text = "Run mode requires explicit spend confirmation"


class InvalidQuoteTokenError(InvalidRequestError):
    """A quote token was not made here, for this project, or not lately."""

    code = "invalid_quote_token"

    def __init__(self, problem: str) -> None:
        super().__init__(f"Field 'quote_token' {problem}; ask for a new quote")


class PlanChangedError(PolicyError):
    """The same request makes, or costs, something else than when it was quoted."""

    code = "plan_changed"
    text = (
        "The plan is not the one that was quoted: settings, pictures or prices have changed,"
        " or the request has; ask for a new quote"
    )


class RunNotAgainError(ConflictError):
    """The run cannot be retried or run again as it stands."""

    code = "run_not_repeatable"


class CandidateIndexError(InvalidRequestError):
    """The job has no candidate of this index."""

    def __init__(self, job_key: str, indexes: Sequence[int]) -> None:
        known = ", ".join(map(str, sorted(indexes))) or "none"
        super().__init__(
            f"Field 'candidate_index' must be the index of a candidate of job '{job_key}': {known}"
        )


class NotSelectableError(ConflictError):
    """Nothing of the run can be chosen yet, or the candidate has no picture."""

    code = "candidate_not_selectable"


class NothingToLockError(ConflictError):
    """The run, or a job of it, has no picture that could be a baseline."""

    code = "baseline_not_lockable"


class CallsUnresolvedError(PolicyError):
    """Calls of the run may have been charged; making them again might pay twice."""

    code = "provider_calls_unresolved"

    def __init__(self, calls: Sequence[tuple[str, int]]) -> None:
        named = ", ".join(f"candidate {index} of '{job_key}'" for job_key, index in calls)
        super().__init__(
            f"Nobody knows yet whether the provider was paid for {named}: see provider-calls?status=unknown"
            " and resolve each call as charged or not_charged"
        )


class InvalidProjectSlugError(InvalidRequestError):
    """The slug finds a project, but was not written the way a slug is."""

    code = "invalid_project_slug"

    def __init__(self, slug: str) -> None:
        super().__init__(f"Project slug '{shown(slug)}' may hold only ASCII letters, digits, '-' and '_'")


class ProjectRootManagedError(InvalidRequestError):
    """validate-config was given a root of the caller's own."""

    code = "project_root_managed"
    text = "Field 'project_root' is managed by project storage and cannot be overridden"


class ConfigFileError(InvalidRequestError):
    """A settings file, manifest or postprocess config cannot be used."""

    code = "config_file_invalid"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{shown(path)}: {problem}")


class PlanningPreflightError(InvalidRequestError):
    """No plan can be made of what was asked; nothing was stored."""

    code = "planning_preflight_failed"

    def __init__(self, problem: str) -> None:
        super().__init__(shown(problem))


class ConfigValidationError(InvalidRequestError):
    """A project's configuration does not hold; the text starts with which of the three is wrong."""

    code = "config_validation_failed"

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part} validation failed: {problem}")
