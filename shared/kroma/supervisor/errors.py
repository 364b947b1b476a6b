"""Why a stack does not start."""

from pathlib import Path

from kroma.errors import ConflictError, InfraError


class AlreadyRunningError(ConflictError):
    """Another supervisor holds the data directory."""

    def __init__(self, data_dir: Path, *, pid: int | None, address: str) -> None:
        who = "another process" if pid is None else f"process {pid}"
        where = f" at {address}" if address else ""
        super().__init__(f"Kroma already runs on {data_dir}: {who}{where}")


class PortTakenError(ConflictError):
    """Somebody listens on the API's port."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is in use by another program; set KROMA_BACKEND_BIND to another ip:port "
            "(port 0 takes a free one)"
        )


class AddressUnusableError(InfraError):
    """The API's address does not belong to this machine, or may not be used."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"KROMA_BACKEND_BIND names {address}, which cannot be used here: {reason}")


class DataDirError(InfraError):
    """The data directory cannot be made or written."""

    def __init__(self, data_dir: Path, reason: str) -> None:
        super().__init__(
            f"The data directory {data_dir} cannot be used: {reason}; "
            "choose another with --data-dir or KROMA_DATA_DIR"
        )


class PartFailedError(InfraError):
    """A part of the stack did not start."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message if log is None else f"{message}; see {log}")


class DatabaseUnreachableError(InfraError):
    """The database does not answer, or refuses the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The database does not answer ({reason}); check that it runs and KROMA_DATABASE_URL is correct"
        )
