"""A private PostgreSQL and Valkey for a benchmark, with the API and workers."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import redis

from kroma.embedded.postgres import USER, EmbeddedPostgres
from kroma.embedded.valkey import EmbeddedValkey
from kroma.migrations.run import upgrade


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Running servers with the current schema."""

    folder: Path
    database_url: str
    redis_url: str

    def environment(self, **more: str) -> dict[str, str]:
        """The environment in which Kroma's services find the servers."""
        return os.environ | {
            "KROMA_DATA_DIR": str(self.folder),
            "KROMA_DATABASE_URL": self.database_url,
            "KROMA_REDIS_URL": self.redis_url,
            **more,
        }


_SHARED: Final[list[Stack]] = []
"""At most one: the servers that all benchmarks share."""


@contextmanager
def shared_servers() -> Generator[None]:
    """Inside this block, ``running_stack`` starts no servers, but yields an empty database on shared ones."""
    with running_stack() as stack:
        _SHARED.append(stack)
        try:
            yield
        finally:
            _SHARED.clear()


@contextmanager
def running_stack() -> Generator[Stack]:
    """Start servers with the current schema, in a folder that is deleted afterwards."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kroma-bench-")))
        folder.chmod(0o711)
        if _SHARED:
            yield opened.enter_context(_copied(_SHARED[0], folder))
            return
        postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
        postgres.prepare()
        postgres.run_as_superuser(f"ALTER ROLE {USER} SUPERUSER;")  # to create databases of benchmarks
        for server in (postgres, valkey):
            server.start()
            opened.callback(server.stop)
        upgrade(postgres.url)
        yield Stack(folder=folder, database_url=postgres.url, redis_url=valkey.url)


@contextmanager
def _copied(shared: Stack, folder: Path) -> Generator[Stack]:
    server, _, template = shared.database_url.rpartition("/")
    name = f"bench_{uuid4().hex}"
    asyncio.run(_statement(f"{server}/postgres", f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield Stack(folder=folder, database_url=f"{server}/{name}", redis_url=shared.redis_url)
    finally:
        asyncio.run(_statement(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)"))
        with redis.Redis.from_url(shared.redis_url) as queue:
            queue.flushall()


async def _statement(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@contextmanager
def running_worker(stack: Stack, **more: str) -> Generator["subprocess.Popen[bytes]"]:
    """Start a worker and wait until it is ready."""
    ready, announce = os.pipe()
    environment = stack.environment(KROMA_READY_FD=str(announce), **more)
    with _running("kroma_worker", environment, pass_fds=[announce]) as process:
        os.close(announce)
        with os.fdopen(ready) as pipe:
            if pipe.readline() != "ready\n":
                sys.exit("the worker exited before it was ready")
        yield process


@contextmanager
def running_api(stack: Stack, **more: str) -> Generator[tuple["subprocess.Popen[bytes]", str]]:
    """Start the API on a free port and wait until it is healthy; yields its process and URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    with _running("kroma_api", stack.environment(KROMA_BACKEND_BIND=bind, **more)) as process:
        for _ in range(200):
            try:
                httpx.get(f"http://{bind}/health").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process, f"http://{bind}"


@contextmanager
def _running(
    module: str, environment: dict[str, str], *, pass_fds: Sequence[int] = ()
) -> Generator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", module], env=environment, pass_fds=pass_fds, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)
