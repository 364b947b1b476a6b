"""Prompt and import of settings with 2,000 reference items, compared with plain SQL.

For the prompt, the raw side reads the same rows over one asyncpg connection. For the import, it reads,
deletes and inserts the rows from arrays and stores the undo record, in one transaction.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
import uvloop
from figures import line
from stack import running_stack

from kroma.bootstrap.importer import import_settings
from kroma.bootstrap.inputs import ReferenceItemInput, ReferenceSetInput, SettingsInput
from kroma.bootstrap.prompt import export_settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.service import ProjectDraft, upsert_project
from support.doubles.memory_store import MemoryStores

ITEMS: Final = 2_000
TARGET: Final = 5.0
SECTIONS: Final = (
    "provider_accounts",
    "style_guides",
    "characters",
    "reference_sets",
    "project_secrets",
    "prompt_templates",
    "reference_set_items",
)
INSERT_ITEMS: Final = """
    INSERT INTO reference_set_items
        (id, project_id, reference_set_id, label, content_uri, content_text, sort_order, metadata_json,
         created_at, updated_at)
    SELECT id, $1, $2, label, uri, content, position, metadata, $8, $8
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::jsonb[], $9::text[])
        AS given (id, label, uri, position, metadata, content)"""


def given(items: int) -> SettingsInput:
    """Settings with one reference set."""
    faces = [
        ReferenceItemInput(
            label=f"Face {number}",
            content_uri=f"s3://references/{number}.png",
            content_text="red scarf, gray eyes",
            sort_order=number,
            metadata_json={"page": number},
        )
        for number in range(items)
    ]
    return SettingsInput(reference_sets=[ReferenceSetInput(name="Faces", items=faces)])


class Raw:
    """The same rows over a bare connection."""

    def __init__(self, connection: asyncpg.Connection, project: UUID) -> None:
        self._connection = connection
        self._project = project

    async def read(self) -> list[asyncpg.Record]:
        await self._connection.fetch("SELECT * FROM projects WHERE id = $1", self._project)
        for table in SECTIONS:
            rows = await self._connection.fetch(f"SELECT * FROM {table} WHERE project_id = $1", self._project)
        return rows

    async def replace(self) -> None:
        async with self._connection.transaction():
            rows = await self.read()
            for table in ("reference_set_items", "reference_sets"):
                await self._connection.execute(f"DELETE FROM {table} WHERE project_id = $1", self._project)
            now, set_id = utc_now(), uuid4()
            await self._connection.execute(
                "INSERT INTO reference_sets (id, project_id, name, created_at, updated_at)"
                " VALUES ($1, $2, 'Faces', $3, $3)",
                set_id,
                self._project,
                now,
            )
            columns = [
                [row[name] for row in rows]
                for name in ("label", "content_uri", "sort_order", "metadata_json", "content_text")
            ]
            ids = [uuid4() for _ in rows]
            await self._connection.execute(
                INSERT_ITEMS, self._project, set_id, ids, *columns[:4], now, columns[4]
            )
            saved = msgspec.json.encode([dict(row) for row in rows]).decode()
            await self._connection.execute(
                "INSERT INTO bootstrap_imports (id, project_id, mode, before_json, after_json)"
                " VALUES ($1, $2, 'replace', $3, '{}')",
                uuid4(),
                self._project,
                json.dumps({"rows": saved}),
            )
            await self._connection.execute(
                "UPDATE projects SET updated_at = $2 WHERE id = $1", self._project, now
            )


async def _compared(url: str, rounds: int, items: int) -> dict[str, list[tuple[float, float]]]:
    db, connection = Database.connect(url), await asyncpg.connect(url)
    project = (
        await upsert_project(db, MemoryStores(), ProjectDraft.checked(name="bench"), actor=None)
    ).project
    raw, settings = Raw(connection, project.id), given(items)

    async def ours_replace() -> None:
        imported = await import_settings(db, slug="bench", settings=settings, mode="replace")
        msgspec.json.encode(imported.report)

    async def ours_prompt() -> None:
        msgspec.json.encode(await export_settings(db, slug="bench"))

    await ours_replace()
    works = {"prompt": (ours_prompt, raw.read), "import": (ours_replace, raw.replace)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(rounds + 2):
        # Alternating, so that a busy machine slows both; the first two rounds are the warm-up.
        for name, (ours, bare) in works.items():
            pair = await _ms(ours), await _ms(bare)
            if number > 1:
                times[name].append(pair)
    await connection.close()
    await db.close()
    return times


async def _ms(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


def measure(*, smoke: bool = False) -> list[dict[str, Any]]:
    """Compare medians on a private server."""
    rounds, items = (1, 5) if smoke else (30, ITEMS)
    with running_stack() as stack:
        times = uvloop.run(_compared(stack.database_url, rounds, items))
    return [line(f"bootstrap: {name}", pairs, at_most=TARGET) for name, pairs in times.items()]


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
