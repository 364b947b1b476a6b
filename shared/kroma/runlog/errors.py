from kroma.errors import InvalidRequestError


class RunLogInvalidError(InvalidRequestError):
    """A run log is invalid; the message names the file."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"Run log '{source}': {problem}")


class RunLogFieldError(RunLogInvalidError):
    """A field of a run log has an invalid value."""

    def __init__(self, source: str, field: str, problem: str) -> None:
        super().__init__(source, f"field '{field}': {problem}")
