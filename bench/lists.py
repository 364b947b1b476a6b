"""Single reads and pages of 100 rows from full tables, compared with the same SQL over asyncpg.

Kroma is the whole application, called in process as ASGI, so HTTP parsing counts on neither side. The
raw side runs the same prepared statements over one connection and produces no JSON. Page 10,000 is
compared with page 1 of the same list, both of Kroma.
"""

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop
from figures import line, p95
from litestar.types import ASGIApp
from sqlalchemy import event
from stack import running_stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.logs import configure_logs
from kroma.providers import open_providers
from kroma.resources import Resources
from kroma.secrets.keyring import Keyring
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app
from support.doubles.memory_queue import MemoryTaskQueue

TARGET = 2.5
TARGET_DEEP = 1.3
DEEP = "page 10,000 compared with page 1"
PAGE = 100
DEEP_PAGE = 10_000
SIZES = {"projects": 1000, "runs": 100_000, "assets": 1_000_000}
SMALL = {"projects": 1, "runs": 100, "assets": 300}

FILL = """
INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'bench', 'Bench');
INSERT INTO projects (id, owner_user_id, slug, name, description, status)
  SELECT gen_random_uuid(), (SELECT id FROM app_users WHERE username = 'bench'), 'p' || n, 'P', '', 'active'
  FROM generate_series(1, {projects}) n;
INSERT INTO runs (id, project_id, run_mode, status, stage, created_at)
  SELECT gen_random_uuid(), (array(SELECT id FROM projects ORDER BY slug))[n % {projects} + 1],
         'dry', 'ok', 'style', now() - n * interval '1 second'
  FROM generate_series(1, {runs}) n;
"""
# All assets belong to one project, so that its list has a page 10,000 of 100 rows.
FILL_ASSETS = """
INSERT INTO assets (id, project_id, kind, storage_uri, rel_path, mime_type, width, height, sha256, created_at)
  SELECT gen_random_uuid(), (SELECT id FROM projects WHERE slug = 'p1'), 'candidate_output',
         'runs/' || n || '.png', 'runs/' || n || '.png', 'image/png', 768, 1152,
         encode(sha256(n::text::bytea), 'hex'), now() - n * interval '1 millisecond'
  FROM generate_series(1, {assets}) n;
"""


class Sent:
    """Records the statements that a database sends."""

    def __init__(self, db: Database) -> None:
        self._connections: list[asyncpg.Connection] = []
        event.listen(
            db.engine.sync_engine, "connect", lambda made, _: self._connections.append(made.driver_connection)
        )

    async def during(self, work: Callable[[], Awaitable[object]]) -> list[tuple[str, Sequence[object]]]:
        """Do some work and return its statements with their values."""
        await work()  # opens a connection
        statements: list[tuple[str, Sequence[object]]] = []

        def note(sent: asyncpg.connection.LoggedQuery) -> None:
            statements.append((sent.query, sent.args))

        for connection in self._connections:
            connection.add_query_logger(note)
        await work()
        for connection in self._connections:
            connection.remove_query_logger(note)
        return statements


async def call(app: ASGIApp, path: str, query: str = "") -> bytes:
    """Send one GET and return the body of the response."""
    parts: list[bytes] = []
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            sys.exit(f"{path}: {message['status']}")
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(parts)


async def _ms(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


async def _compared(
    ours: Callable[[], Awaitable[object]], raw: Callable[[], Awaitable[object]], rounds: int
) -> list[tuple[float, float]]:
    """Times of alternating calls, so that a busy machine slows both."""
    for _ in range(min(10, rounds)):
        await ours()
        await raw()
    return [(await _ms(ours), await _ms(raw)) for _ in range(rounds)]


async def _fill(connection: asyncpg.Connection, sizes: dict[str, int]) -> None:
    await connection.execute((FILL + FILL_ASSETS).format_map(sizes))
    await connection.execute("VACUUM ANALYZE")


async def _measured(
    url: str, folder: Path, sizes: dict[str, int], rounds: int, deep_page: int
) -> dict[str, list[tuple[float, float]]]:
    connection = await asyncpg.connect(url)
    await _fill(connection, sizes)
    db = Database.connect(url)
    sent = Sent(db)
    settings = Settings.from_environment({"KROMA_API_AUTH_DEV_BYPASS": "1"}, data_dir=folder)
    stores = DirectoryStores(folder, allow_any_root=False)
    cpu = CpuPool(1)
    app = create_app(
        Resources(
            settings=settings,
            db=db,
            queue=MemoryTaskQueue(),
            stores=stores,
            keyring=Keyring(settings.master_key),
            cpu=cpu,
            providers=open_providers(cpu, settings),
        )
    )
    at = "/api/projects/p1"
    asset = await connection.fetchval("SELECT id FROM assets LIMIT 1")
    after = await _deep_cursor(app, f"{at}/assets", (deep_page - 1) * PAGE)

    def asked(path: str, query: str = "") -> Callable[[], Awaitable[object]]:
        return lambda: call(app, f"{at}/{path}", query)

    async def beside_raw(ours: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        statements = await sent.during(ours)

        async def raw() -> None:
            for sql, values in statements:
                await connection.fetch(sql, *values)

        return await _compared(ours, raw, rounds)

    page = f"limit={PAGE}"
    measured = {
        "one asset": await beside_raw(asked(f"assets/{asset}")),
        "100 assets": await beside_raw(asked("assets", page)),
        "100 runs": await beside_raw(asked("runs", page)),
        DEEP: await _compared(asked("assets", f"{page}&after={after}"), asked("assets", page), rounds),
    }
    await db.close()
    await connection.close()
    return measured


async def _deep_cursor(app: ASGIApp, path: str, rows: int) -> str:
    """The cursor after that many rows, reached in large pages."""
    after = ""
    while rows > 0:
        step = min(rows, 2000)
        query = f"limit={step}" + (f"&after={after}" if after else "")
        after = msgspec.json.decode(await call(app, path, query))["next"]
        if after is None:
            sys.exit("the list has too few rows for the page")
        rows -= step
    return after


def measure(*, smoke: bool = False) -> list[dict[str, Any]]:
    """Compare 95th percentiles on a private server."""
    sizes, rounds, deep_page = (SMALL, 1, 2) if smoke else (SIZES, 200, DEEP_PAGE)
    with running_stack() as stack:
        configure_logs()  # each request writes a log line, as in the service
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            measured = uvloop.run(_measured(stack.database_url, stack.folder, sizes, rounds, deep_page))
    deep = measured.pop(DEEP)
    lines = [line(f"lists: {name}", pairs, at_most=TARGET, of=p95) for name, pairs in measured.items()]
    return [*lines, line(f"lists: {DEEP}", deep, at_most=TARGET_DEEP, of=p95)]


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
