"""What can go wrong with runs."""

from kroma.errors import KromaError, NotFoundError, PolicyError


class RunNotFoundError(NotFoundError):
    """The project has no such run, or does not exist itself."""

    text = "Run not found"


class JobNotFoundError(NotFoundError):
    """The run has no such job."""

    text = "Job not found"


class RunLogNotFoundError(NotFoundError):
    """The run has no log yet."""

    text = "Run log not found"


class RunCanceledError(PolicyError):
    """The run is being canceled; a job stops before its next call."""

    code = "run_canceled"
    text = "The run was canceled"


class UnexpectedFailureError(KromaError):
    """A bug ended a step; its text is in the worker's log and is not shown to the caller."""

    retryable = True
    text = "Internal error; the worker's log has the details"
