"""What `kroma doctor` looks at: every part by itself, none that changes anything."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.embedded.account import others_can_reach, server_account
from kroma.embedded.binaries import postgres_install, valkey_server
from kroma.embedded.parent_death import command_with_parent
from kroma.embedded.server_process import SERVER_ENVIRONMENT
from kroma.errors import KromaError
from kroma.supervisor.address import chosen_bind
from kroma.supervisor.components import is_healthy
from kroma.supervisor.lock import find_holder, is_held
from kroma.supervisor.state import StackState, find_state
from kroma.supervisor.token_file import find_token, token_path

MINIMUM_PYTHON: Final = (3, 11)
MINIMUM_FREE_BYTES: Final = 1024**3
_TIMEOUT_S: Final = 5.0


class Verdict(StrEnum):
    """How a part is."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUNNING = "not running"
    """It exists only while a stack runs, and none does: no failure."""


class Check(msgspec.Struct, frozen=True):
    """One part, looked at."""

    part: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do about a failure."""


class Installation(msgspec.Struct, frozen=True):
    """What the checks look at."""

    settings: Settings
    state: StackState | None
    """The stack that runs on the data directory."""

    @property
    def database_url(self) -> str | None:
        """The environment's, else the running stack's."""
        return self.settings.database_url or (self.state.database_url if self.state else None)

    @property
    def redis_url(self) -> str | None:
        """The environment's, else the running stack's."""
        return self.settings.redis_url or (self.state.redis_url if self.state else None)


async def examine(settings: Settings) -> list[Check]:
    """Every check's result, in a fixed order; one that breaks is a failed part, not an error."""
    running = is_held(settings.data_dir)
    installation = Installation(settings, find_state(settings.data_dir) if running else None)
    return list(await asyncio.gather(*(_guard(part, check, installation) for part, check in CHECKS)))


async def _guard(
    part: str, check: Callable[[Installation], Awaitable[Check]], installation: Installation
) -> Check:
    try:
        async with asyncio.timeout(4 * _TIMEOUT_S):
            return await check(installation)
    except TimeoutError:
        return Check(
            part, Verdict.FAILED, "it did not answer in time", "see whether the machine is overloaded"
        )
    except KromaError as exc:
        return Check(part, Verdict.FAILED, exc.message, "see the message")
    except OSError as exc:
        return Check(part, Verdict.FAILED, exc.strerror or type(exc).__name__, "see the message")


async def _python(_: Installation) -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < MINIMUM_PYTHON:
        return Check("python", Verdict.FAILED, found, "install Python 3.11 or newer, then `make install`")
    return Check("python", Verdict.OK, found)


async def _postgres_program(installation: Installation) -> Check:
    if installation.settings.database_url is not None:
        return Check("postgresql program", Verdict.OK, "not needed: KROMA_DATABASE_URL is set")
    program = postgres_install() / "bin" / "postgres"
    return await _runs("postgresql program", program)


async def _valkey_program(installation: Installation) -> Check:
    if installation.settings.redis_url is not None:
        return Check("valkey program", Verdict.OK, "not needed: KROMA_REDIS_URL is set")
    return await _runs("valkey program", valkey_server())


async def _runs(part: str, program: Path) -> Check:
    done = await asyncio.to_thread(_output, [str(program), "--version"])
    if done.returncode != 0:
        return Check(
            part, Verdict.FAILED, done.stderr.strip(), "reinstall kroma-studio[embedded] for this machine"
        )
    return Check(part, Verdict.OK, done.stdout.strip())


def _output(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - programs of the wheels and our own, no shell
        command, env=SERVER_ENVIRONMENT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )


async def _data_dir(installation: Installation) -> Check:
    folder = installation.settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            "data directory",
            Verdict.FAILED,
            f"{existing} is no folder that this user can write",
            "choose another with --data-dir or KROMA_DATA_DIR, or change its owner",
        )
    found = str(folder) if existing == folder else f"{folder} (made by the first `kroma up`)"
    return Check("data directory", Verdict.OK, found)


async def _database_account(installation: Installation) -> Check:
    part = "database account"
    account = server_account()
    if account is None or installation.settings.database_url is not None:
        return Check(part, Verdict.OK, "the database runs as this user, or elsewhere")
    command = command_with_parent(["/bin/true"], death_signal=signal.SIGKILL, account=account)
    done = await asyncio.to_thread(_output, command)
    if done.returncode != 0:
        advice = "allow it (containers: CAP_SETUID, CAP_SETGID), or run kroma as another user"
        return Check(part, Verdict.FAILED, "root cannot start a process as 'nobody' here", advice)
    note = installation.settings.data_dir / "postgres.location"
    if note.is_file():
        return Check(part, Verdict.OK, f"runs as nobody, its files in {note.read_text().strip()}")
    where = (
        "the data directory"
        if others_can_reach(installation.settings.data_dir)
        else "a folder below /var/lib"
    )
    return Check(part, Verdict.OK, f"runs as nobody, its files in {where}")


async def _disk(installation: Installation) -> Check:
    folder = installation.settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < MINIMUM_FREE_BYTES:
        return Check("disk", Verdict.FAILED, found, "free at least 1 GiB, or choose another data directory")
    return Check("disk", Verdict.OK, found)


async def _stack(installation: Installation) -> Check:
    folder = installation.settings.data_dir
    holder = find_holder(folder)
    if is_held(folder):
        pid = "?" if holder is None else holder.pid
        if installation.state is None:
            return Check("stack", Verdict.OK, f"process {pid} is starting or stopping it")
        return Check("stack", Verdict.OK, f"process {pid} at {installation.state.address}")
    if holder is not None:
        found = f"process {holder.pid} was killed; the next `kroma up` takes over its data"
        return Check("stack", Verdict.NOT_RUNNING, found)
    return Check("stack", Verdict.NOT_RUNNING, "start it with `kroma up`")


async def _port(installation: Installation) -> Check:
    bind = installation.settings.bind
    if installation.state is None:
        chosen_bind(bind)
        return Check("API port", Verdict.OK, f"{bind.address} is free")
    return Check("API port", Verdict.OK, "held by the running stack")


async def _database(installation: Installation) -> Check:
    if installation.database_url is None:
        return Check("database", Verdict.NOT_RUNNING, "start it with `kroma up`")
    from kroma.supervisor.database import find_revision, newest_revision  # noqa: PLC0415 - slow to import

    found = await find_revision(installation.database_url)
    newest = newest_revision()
    if found != newest:
        advice = "`kroma up` migrates it; for a shared one run `python -m kroma.migrations.run upgrade`"
        return Check("database", Verdict.FAILED, f"schema {found or 'missing'}, needed {newest}", advice)
    return Check("database", Verdict.OK, f"answers, schema {found}")


async def _roots(installation: Installation) -> Check:
    part = "project roots"
    if installation.database_url is None:
        return Check(part, Verdict.NOT_RUNNING, "start it with `kroma up`")
    if installation.settings.store.is_hosted:
        return Check(part, Verdict.OK, "none: files are in a bucket")
    from kroma.db.connection_errors import DATABASE_TROUBLE  # noqa: PLC0415 - comes with it
    from kroma.db.engine import Database  # noqa: PLC0415 - slow to import
    from kroma.db.schema import find_revision, needed_revision  # noqa: PLC0415 - comes with it
    from kroma.projects.roots import list_root_problems  # noqa: PLC0415 - comes with it
    from kroma.resources import directory_stores  # noqa: PLC0415 - comes with it

    db = Database.connect(installation.database_url, pool_size=1)
    try:
        if await find_revision(db) != needed_revision():
            return Check(part, Verdict.NOT_RUNNING, "the database has a line of its own")
        problems = await list_root_problems(db, directory_stores(installation.settings))
    except DATABASE_TROUBLE:
        return Check(part, Verdict.NOT_RUNNING, "the database has a line of its own")
    finally:
        await db.close()
    if not problems:
        return Check(part, Verdict.OK, "each project has a folder of its own")
    found = "; ".join(f"{problem.slug}: {problem.root} {problem.reason}" for problem in problems)
    advice = (
        "nothing is written to these projects until each has a root of its own: "
        "PUT /api/projects/<slug>/storage/local with a token of the installation"
    )
    return Check(part, Verdict.FAILED, found, advice)


async def _redis(installation: Installation) -> Check:
    if installation.redis_url is None:
        return Check("redis", Verdict.NOT_RUNNING, "start it with `kroma up`")
    from redis.asyncio import Redis  # noqa: PLC0415 - slow to import
    from redis.exceptions import RedisError  # noqa: PLC0415

    client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - its keywords have no types
        installation.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )
    try:
        await client.ping()  # pyright: ignore[reportUnknownMemberType, reportGeneralTypeIssues] - untyped there
    except RedisError as exc:
        advice = "see that it runs and that KROMA_REDIS_URL has the right password"
        return Check("redis", Verdict.FAILED, type(exc).__name__, advice)
    finally:
        await client.aclose()
    return Check("redis", Verdict.OK, "answers")


async def _api(installation: Installation) -> Check:
    if installation.state is None:
        return Check("API", Verdict.NOT_RUNNING, "start it with `kroma up`")
    bind = installation.state.bind
    if not await asyncio.to_thread(is_healthy, bind, timeout_s=_TIMEOUT_S):
        log = installation.settings.data_dir / "logs" / "api.log"
        return Check("API", Verdict.FAILED, f"{bind.url}/health does not answer 200", f"see {log}")
    return Check("API", Verdict.OK, f"{bind.url}/health answers")


async def _worker(installation: Installation) -> Check:
    if installation.state is not None:
        pid = installation.state.pids.get("worker", 0)
        if not pid or not _is_alive(pid):
            log = installation.settings.data_dir / "logs" / "worker.log"
            return Check("worker", Verdict.FAILED, "it is down and being started again", f"see {log}")
    if installation.database_url is None:
        return Check("worker", Verdict.NOT_RUNNING, "start it with `kroma up`")
    living = await _living_workers(installation.database_url)
    if not living:
        advice = "see that one runs; its log says why it does not reach the database"
        return Check("worker", Verdict.FAILED, "no worker was seen in the last 30 s", advice)
    return Check("worker", Verdict.OK, "; ".join(living))


async def _living_workers(database_url: str) -> list[str]:
    """Every worker on that database, on whatever machine."""
    from kroma.db.connection_errors import DATABASE_TROUBLE  # noqa: PLC0415 - comes with it
    from kroma.db.engine import Database  # noqa: PLC0415 - slow to import
    from kroma.workers.queries import list_living  # noqa: PLC0415 - comes with it

    db = Database.connect(database_url, pool_size=1)
    try:
        async with db.transaction() as session:
            return [
                f"process {worker.pid} on {worker.host}, version {worker.version}, {worker.jobs} jobs running"
                for worker in await list_living(session)
            ]
    except DATABASE_TROUBLE:
        return []  # the database has a line of its own
    finally:
        await db.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _token(installation: Installation) -> Check:
    path = token_path(installation.settings.data_dir)
    if find_token(installation.settings.data_dir) is None:
        return Check("token", Verdict.NOT_RUNNING, "none kept; the first `kroma up` makes one")
    if path.stat().st_mode & 0o077:
        return Check("token", Verdict.FAILED, f"others can read {path}", f"run `chmod 600 {path}`")
    return Check("token", Verdict.OK, str(path))


async def _provider(installation: Installation) -> Check:
    from kroma.providers import PROVIDERS, open_provider  # noqa: PLC0415 - slow to import
    from kroma.providers.base import ProviderAccess  # noqa: PLC0415 - comes with it

    provider = open_provider(installation.settings.provider, CpuPool(1), installation.settings)
    key = PROVIDERS[provider.code].environment_key(installation.settings)
    if provider.capabilities.takes_key and key is None:
        return Check("provider", Verdict.OK, f"{provider.code}: no key of its own; projects bring theirs")
    try:
        health = await provider.health(ProviderAccess(api_key=key))
    finally:
        await provider.close()
    if not health.ok:
        return Check("provider", Verdict.FAILED, f"{provider.code}: {health.message}", "see the message")
    return Check("provider", Verdict.OK, f"{provider.code}: {health.message}")


CHECKS: Final[tuple[tuple[str, Callable[[Installation], Awaitable[Check]]], ...]] = (
    ("python", _python),
    ("postgresql program", _postgres_program),
    ("valkey program", _valkey_program),
    ("data directory", _data_dir),
    ("database account", _database_account),
    ("disk", _disk),
    ("stack", _stack),
    ("API port", _port),
    ("database", _database),
    ("project roots", _roots),
    ("redis", _redis),
    ("API", _api),
    ("worker", _worker),
    ("token", _token),
    ("provider", _provider),
)
