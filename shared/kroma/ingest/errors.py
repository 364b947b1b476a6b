"""What can stop an ingest."""

from kroma.errors import ConflictError


class RunLogConflictError(ConflictError):
    """A log claims ids or a path that belong to something else."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"Run log '{source}' cannot be ingested: {problem}")
