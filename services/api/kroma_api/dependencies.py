"""What a handler may ask for."""

from typing import Any, Final

from litestar import Request
from litestar.di import NamedDependency, Provide

from kroma.auth.service import Caller
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.queue.base import TaskQueue
from kroma.secrets.keyring import Keyring
from kroma.storage.base import ProjectStores

Db = NamedDependency[Database]
Queue = NamedDependency[TaskQueue]
Stores = NamedDependency[ProjectStores]
Keys = NamedDependency[Keyring]
AppSettings = NamedDependency[Settings]
CurrentCaller = NamedDependency[Caller]

DEPENDENCY_NAMES: Final = ("settings", "db", "queue", "stores", "keyring", "caller")
"""The parameter names under which handlers ask for them."""


def provided(
    settings: Settings, db: Database, queue: TaskQueue, stores: ProjectStores, keyring: Keyring
) -> dict[str, Provide]:
    """The dependencies under the parameter names handlers use."""

    def current_caller(request: Request[Caller, Any, Any]) -> Caller:
        return request.user

    return {
        "settings": Provide(lambda: settings, sync_to_thread=False),
        "db": Provide(lambda: db, sync_to_thread=False),
        "queue": Provide(lambda: queue, sync_to_thread=False),
        "stores": Provide(lambda: stores, sync_to_thread=False),
        "keyring": Provide(lambda: keyring, sync_to_thread=False),
        "caller": Provide(current_caller, sync_to_thread=False),
    }
