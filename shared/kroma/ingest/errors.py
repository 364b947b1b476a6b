from kroma.errors import ConflictError


class RunLogConflictError(ConflictError):
    """A log's ids or path belong to something else."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"Run log '{source}' cannot be ingested: {problem}")
