"""Where a command finds the database: the environment's address, else the running stack's."""

from kroma.config import Settings
from kroma.errors import InfraError
from kroma.supervisor.state import find_state


class NotRunningError(InfraError):
    """A command needs the database and no stack runs on the data directory."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            f"Kroma does not run on {settings.data_dir}; start it with `kroma up`, or set KROMA_DATABASE_URL"
        )


def database_url(settings: Settings) -> str:
    """The database's address.

    Raises:
        NotRunningError: None is set and nothing runs.
    """
    if settings.database_url is not None:
        return settings.database_url
    state = find_state(settings.data_dir)
    if state is None:
        raise NotRunningError(settings)
    return state.database_url
