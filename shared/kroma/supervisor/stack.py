"""The whole stack: PostgreSQL and Valkey, migrations, first token, API and worker, under one process."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any, Final

import msgspec

from kroma.config import MetricsOptions, Settings
from kroma.instructions.signature import signing_key
from kroma.supervisor.address import chosen_bind
from kroma.supervisor.child import Child, Report
from kroma.supervisor.components import api_child, postgres_child, reachable_bind, valkey_child, worker_child
from kroma.supervisor.lock import Holder, StackLock
from kroma.supervisor.privacy import UMASK, close_data_dir
from kroma.supervisor.state import StackState, state_path, write_json

API_METRICS: Final = "KROMA_METRICS_BIND"
WORKER_METRICS: Final = "KROMA_WORKER_METRICS_BIND"
_RESOLVED: Final = frozenset(
    {f"KROMA_{name}_FILE" for name in ("DATA_DIR", "DATABASE_URL", "REDIS_URL", "BACKEND_BIND", "STORE")}
    | {f"{name}{kind}" for name in (API_METRICS, WORKER_METRICS) for kind in ("", "_FILE")}
    | {f"KROMA_{name}_PASSWORD{kind}" for name in ("DATABASE", "REDIS") for kind in ("", "_FILE")}
)
"""What the parts are not given, since the values that it led to are."""


class RunningStack(msgspec.Struct, frozen=True, kw_only=True):
    """A stack that answers."""

    address: str
    """Base URL of the API, one that this machine can call."""
    first_token: str | None
    """The secret of the token that this start made; None when there was one, or none was wanted."""
    killed: Holder | None
    """The supervisor before it, if that never got to its end."""


class Stack:
    """Starts the parts in order and stops them in the opposite one."""

    def __init__(self, settings: Settings, *, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._postgres: Child | None = None
        self._valkey: Child | None = None
        self._services: list[Child] = []
        self._supervising: list[asyncio.Task[None]] = []
        self._database_url = settings.database_url or ""
        self._redis_url = settings.redis_url or ""

    async def start(self, *, make_token: bool) -> str | None:
        """Bring everything up; the first token's secret if one was made.

        Raises:
            KromaError: A part does not start; the caller stops the others.
        """
        # Alembic and SQLAlchemy take as long to import as PostgreSQL to make its files.
        preparation, *_ = await _all(
            [asyncio.to_thread(_database_modules), self._start_postgres(), self._start_valkey()]
        )
        await preparation.migrate(self._database_url)
        await preparation.check_secrets(self._database_url, self._settings.master_key)
        token = None
        if make_token:
            token = await preparation.make_first_token(self._database_url, self._settings.data_dir)
        environment = self._environment()
        data_dir = self._settings.data_dir
        settings = self._settings
        api = environment | {API_METRICS: _shown(settings.metrics)}
        worker = environment | {WORKER_METRICS: _shown(self._worker_metrics())}
        self._services = [
            api_child(api, data_dir, settings.bind),
            worker_child(worker, data_dir, grace=settings.worker_grace),
        ]
        await _all([child.start() for child in self._services])
        self._write_state()
        self._supervising = [
            asyncio.create_task(child.keep(self._report, self._write_state)) for child in self._children()
        ]
        return token

    async def stop(self) -> None:
        """API and worker first, so that nothing asks the servers any more when they end."""
        state_path(self._settings.data_dir).unlink(missing_ok=True)
        for renewer in self._supervising:
            renewer.cancel()
        await asyncio.gather(*self._supervising, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in self._services))
        for server in (self._valkey, self._postgres):
            if server is not None:
                await server.stop()
        for child in self._children():
            await child.close()

    async def _start_postgres(self) -> None:
        if self._settings.database_url is not None:
            return
        # Here, because with an address given `kroma-studio[embedded]` need not be installed.
        from kroma.embedded.postgres import EmbeddedPostgres  # noqa: PLC0415

        server = EmbeddedPostgres(self._settings.data_dir)
        self._postgres = postgres_child(server, self._settings.data_dir)
        await self._postgres.start()
        self._database_url = server.url

    async def _start_valkey(self) -> None:
        if self._settings.redis_url is not None:
            return
        from kroma.embedded.valkey import EmbeddedValkey  # noqa: PLC0415 - as above

        server = EmbeddedValkey(self._settings.data_dir)
        self._valkey = valkey_child(server, self._settings.data_dir)
        await self._valkey.start()
        self._redis_url = server.url

    def _children(self) -> list[Child]:
        servers = [child for child in (self._postgres, self._valkey) if child is not None]
        return [*servers, *self._services]

    def _worker_metrics(self) -> MetricsOptions:
        worker, api = self._settings.worker_metrics, self._settings.metrics
        # One variable for both cannot mean one port for both.
        if worker.variable == api.variable and worker.is_given and worker.bind.port:
            return msgspec.structs.replace(worker, is_given=False)
        return worker

    def _environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name not in _RESOLVED},
            "KROMA_DATA_DIR": str(self._settings.data_dir),
            "KROMA_DATABASE_URL": self._database_url,
            "KROMA_REDIS_URL": self._redis_url,
            "KROMA_BACKEND_BIND": self._settings.bind.address,
            "KROMA_STORE": self._settings.store.kind,
            "PYTHONUNBUFFERED": "1",
            **self._shared_keys(),
        }

    def _shared_keys(self) -> dict[str, str]:
        """With files in a bucket the services ask for the keys, which here are on one disk after all."""
        settings = self._settings
        if not settings.store.is_hosted:
            return {}
        keys: dict[str, str] = {}
        if settings.callback_key is None:
            keys["KROMA_CALLBACK_KEY"] = signing_key(settings).decode()
        if settings.master_key.text is None:
            keys["KROMA_MASTER_KEY_FILE"] = str(settings.master_key.file)
        return keys

    def _write_state(self) -> None:
        pids = {child.name.lower(): child.pid for child in self._children()}
        state = StackState(
            address=reachable_bind(self._settings.bind).url,
            database_url=self._database_url,
            redis_url=self._redis_url,
            pids={"supervisor": os.getpid(), **pids},
        )
        write_json(state_path(self._settings.data_dir), state)


@asynccontextmanager
async def running_stack(
    settings: Settings, *, make_token: bool = True, report: Report
) -> AsyncGenerator[RunningStack, None]:
    """A whole stack for the length of the block; nothing of it is left afterwards.

    Args:
        settings: Where to keep data and listen; servers are started for the addresses it lacks.
        make_token: Whether the first start makes a token.
        report: Gets one line whenever a part dies or comes back.

    Raises:
        AlreadyRunningError: Another supervisor holds the data directory.
        PortTakenError: Another program holds the API's port.
        KromaError: A part does not start.
    """
    with _private(), StackLock(settings.data_dir) as lock:
        await asyncio.to_thread(
            close_data_dir, settings.data_dir, is_passed_through=_is_passed_through(settings)
        )
        settings = msgspec.structs.replace(settings, bind=chosen_bind(settings.bind))
        address = reachable_bind(settings.bind).url
        lock.describe(address)
        stack = Stack(settings, report=report)
        try:
            first_token = await stack.start(make_token=make_token)
            yield RunningStack(address=address, first_token=first_token, killed=lock.killed)
        finally:
            await stack.stop()


@contextmanager
def _private() -> Generator[None, None, None]:
    """All that is written in the block, by children too, is for this user only."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def _is_passed_through(settings: Settings) -> bool:
    """Whether the private database lies in the data directory and runs under another account."""
    is_elsewhere = (settings.data_dir / "postgres.location").exists()
    return settings.database_url is None and os.geteuid() == 0 and not is_elsewhere


async def interruptible(work: Coroutine[Any, Any, None]) -> bool:
    """Carry ``work`` to its end; False if Ctrl-C, SIGTERM or SIGHUP cut it short, its clean-up done."""
    task = asyncio.ensure_future(work)

    def stop() -> None:
        if not task.cancelling():  # a second Ctrl-C must not cut the clean-up short
            task.cancel()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, stop)
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


def _shown(options: MetricsOptions) -> str:
    """The variable's value; nothing leaves the choice to the service."""
    if options.is_off:
        return "off"
    return options.bind.address if options.is_given else ""


def _database_modules() -> ModuleType:
    from kroma.supervisor import database  # noqa: PLC0415 - slow to import, see the caller

    return database


async def _all(steps: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure ends the other steps and is raised as itself."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
