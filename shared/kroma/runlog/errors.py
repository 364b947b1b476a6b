"""What can be wrong with a run log."""

from kroma.errors import InvalidRequestError


class RunLogInvalidError(InvalidRequestError):
    """A run log cannot be read; the message names the file and, where one is to blame, the field."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"Run log '{source}' {problem}")


class RunLogFieldError(RunLogInvalidError):
    """One field of a run log has a value that cannot be kept."""

    def __init__(self, source: str, field: str, problem: str) -> None:
        super().__init__(source, f"is invalid: field '{field}' {problem}")
        self.field = field
