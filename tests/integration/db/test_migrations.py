"""Every migration down and up again, on a database that holds one of everything."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import select

from kroma.baselines.models import Baseline
from kroma.config import Settings
from kroma.costs.models import CostEvent
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.migrations.run import config, downgrade, upgrade
from kroma.projects.models import Project, ProjectStorage
from kroma.projects.queries import get_project
from kroma.projects.roots import list_root_problems, settle_roots
from kroma.quality.models import QualityReport
from kroma.queue.models import QueueMessage
from kroma.resources import open_resources
from kroma.runs.models import RunCandidate, RunJob, RunStep
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app
from support.builders.populated_project import fill_project

pytestmark = pytest.mark.timeout(120)

REVISIONS = [script.revision for script in ScriptDirectory.from_config(config("")).walk_revisions()]
"""From the newest to the first."""

RowMapper = Mapping[str, list[dict[str, Any]]]
"""By table."""

_TABLES = """
SELECT table_name AS name FROM information_schema.tables
WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""
_WATCH = """
CREATE SCHEMA watch;
CREATE TABLE watch.waits (lock_timeout text);
CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO watch.waits VALUES (current_setting('lock_timeout')); END $$;
CREATE EVENT TRIGGER waits ON ddl_command_start EXECUTE FUNCTION watch.note();
"""


async def fill(url: str, data_dir: Path) -> None:
    """One row at least in each table of the contract."""
    variables = {"KROMA_DATABASE_URL": url, "KROMA_QUEUE": "postgres", "KROMA_API_AUTH_DEV_BYPASS": "1"}
    async with open_resources(Settings.from_environment(variables, data_dir=data_dir)) as resources:
        transport = httpx.ASGITransport(create_app(resources))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            known = await fill_project(client, resources.db)
            messages = f"/api/projects/{known['slug']}/chat/sessions/{known['session_id']}/messages"
            (await client.post(messages, json={"role": "user", "content": "Darker."})).raise_for_status()
        async with resources.db.transaction() as session:
            project = await get_project(session, known["slug"])
            run_id, asset_id = UUID(known["run_id"]), UUID(known["asset_id"])
            job = await session.scalar(select(RunJob).where(RunJob.run_id == run_id))
            assert job is not None
            now = utc_now()
            of_run = {"project_id": project.id, "run_id": run_id}
            session.add_all(
                [
                    RunCandidate(job_id=job.id, candidate_index=1, status="done", output_asset_id=asset_id),
                    QualityReport(**of_run, asset_id=asset_id, report_type="image"),
                    RunStep(
                        job_id=job.id, name="plan", fence=1, output_json={}, started_at=now, finished_at=now
                    ),
                    QueueMessage(payload=b"x"),
                    CostEvent(**of_run, provider_code="openai", event_type="image"),
                    Baseline(
                        **of_run,
                        scene_sha256="0" * 64,
                        scene_size_bytes=1,
                        scene_path="a.png",
                        job_id=job.id,
                        job_key=job.job_key,
                        candidate_index=1,
                        asset_id=asset_id,
                        path="b.png",
                        sha256="1" * 64,
                        size_bytes=1,
                        mime_type="image/png",
                        width=1,
                        height=1,
                        stage="style",
                        time_of_day="day",
                        weather="clear",
                    ),
                ]
            )


async def answer(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def stored(url: str) -> RowMapper:
    found: dict[str, list[dict[str, Any]]] = {}
    for table in await answer(url, _TABLES):
        rows = await answer(url, f'SELECT to_jsonb(row)::text AS row FROM "{table["name"]}" AS row')  # noqa: S608 - a name of our own schema
        found[table["name"]] = [json.loads(row["row"]) for row in rows]
    return found


def shared(rows: RowMapper, other: RowMapper) -> dict[str, list[str]]:
    """The rows of tables that both have, with the columns that both have, in one order."""
    return {
        table: sorted(
            json.dumps({column: row[column] for column in sorted({*row} & {*other[table][0]})})
            for row in rows[table]
        )
        for table in sorted({*rows} & {*other})
        if rows[table] and other[table]
    }


def test_every_migration_keeps_the_rows_that_both_sides_know(fresh_database_url: str, data_dir: Path) -> None:
    url = fresh_database_url
    asyncio.run(fill(url, data_dir))
    asyncio.run(execute(url, _WATCH))
    at_head = asyncio.run(stored(url))
    above = at_head

    for revision in REVISIONS[1:]:
        downgrade(url, revision)
        below = asyncio.run(stored(url))
        assert shared(below, above) == shared(above, below), f"down to {revision}"
        if revision == "0004":  # the whole contract; what comes later may have no row
            assert [name for name, rows in below.items() if not rows] == []
        above = below
    for revision in reversed(REVISIONS[:-1]):
        upgrade(url, revision)
        after = asyncio.run(stored(url))
        assert shared(after, above) == shared(above, after), f"up to {revision}"
        above = after

    assert {*above} == {*at_head}
    assert {row["lock_timeout"] for row in asyncio.run(answer(url, "TABLE watch.waits"))} == {"5s"}


def test_a_version_that_knows_no_choices_keeps_their_runs(fresh_database_url: str) -> None:
    url = fresh_database_url
    kinds = "SELECT origin_kind FROM runs WHERE origin_run_id IS NOT NULL"
    asyncio.run(
        execute(
            url,
            """
            INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'x', 'x');
            INSERT INTO projects (id, owner_user_id, slug, name)
            SELECT gen_random_uuid(), id, 'comic', 'Comic' FROM app_users;
            INSERT INTO runs (id, project_id, run_mode, status)
            SELECT gen_random_uuid(), id, 'run', 'ok' FROM projects;
            INSERT INTO runs (id, project_id, run_mode, status, origin_run_id, origin_kind)
            SELECT gen_random_uuid(), project_id, 'run', 'ok', id, 'select' FROM runs;
            """,
        )
    )

    downgrade(url, "0006")
    before = asyncio.run(answer(url, kinds))
    upgrade(url)

    assert [row["origin_kind"] for row in before] == ["rerun"]
    assert [row["origin_kind"] for row in asyncio.run(answer(url, kinds))] == ["rerun"]


async def _registered(url: str, data_dir: Path) -> dict[str, str | None]:
    db = Database.connect(url)
    stores = DirectoryStores(data_dir, allow_any_root=True)
    problems = {problem.slug for problem in await list_root_problems(db, stores)}
    await settle_roots(db, stores)
    # Reading them again changes nothing.
    assert {problem.slug for problem in await list_root_problems(db, stores)} == problems
    async with db.transaction() as session:
        statement = select(Project.slug, ProjectStorage.local_real_root).join(Project.storage)
        roots = {row[0]: row[1] for row in await session.execute(statement)}
    await db.close()
    assert problems == {slug for slug, root in roots.items() if root is None}
    return roots


def test_roots_from_before_the_rule_are_kept_and_those_that_overlap_are_told(
    fresh_database_url: str, data_dir: Path
) -> None:
    url = fresh_database_url
    (data_dir / "link").symlink_to("var/projects")
    downgrade(url, "0009")
    asyncio.run(
        execute(
            url,
            """
            INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'x', 'x');
            INSERT INTO projects (id, owner_user_id, slug, name)
            SELECT gen_random_uuid(), id, slug, slug FROM app_users, unnest(ARRAY[
                'contained', 'default', 'elsewhere', 'own_place', 'shared', 'through_a_link'
            ]) AS slug;
            INSERT INTO project_storage (id, project_id, local_base_dir, local_project_root)
            SELECT gen_random_uuid(), projects.id, roots.base, roots.root
            FROM projects JOIN (VALUES
                ('contained', 'var/projects', 'shared/part'),
                ('default', 'var/projects', NULL),
                ('elsewhere', '/srv/books', NULL),
                ('own_place', 'var', 'var'),
                ('shared', 'var/projects', 'shared'),
                ('through_a_link', 'var/projects', 'link/default')
            ) AS roots (slug, base, root) USING (slug);
            """,
        )
    )
    texts = "SELECT local_base_dir, local_project_root FROM project_storage ORDER BY project_id"
    before = asyncio.run(answer(url, texts))

    for _ in range(2):
        upgrade(url)
        roots = asyncio.run(_registered(url, data_dir))
        assert roots == {
            "contained": None,
            "default": None,
            "elsewhere": "/srv/books/elsewhere",
            "own_place": None,
            "shared": None,
            "through_a_link": None,
        }
        with pytest.raises(asyncpg.ExclusionViolationError):  # nobody gets in between
            asyncio.run(
                execute(
                    url,
                    "INSERT INTO project_roots (id, project_id, path) "
                    "VALUES (gen_random_uuid(), gen_random_uuid(), 'shared/part/deep')",
                )
            )
        with pytest.raises(asyncpg.ExclusionViolationError):
            asyncio.run(execute(url, "UPDATE project_storage SET local_real_root = 'shared'"))
        downgrade(url, "0009")
        assert asyncio.run(answer(url, texts)) == before


async def test_the_database_refuses_all_but_one_of_roots_that_overlap(fresh_database_url: str) -> None:
    async def insert(path: str) -> bool:
        connection = await asyncpg.connect(fresh_database_url)
        try:
            await connection.execute(
                "INSERT INTO project_roots (id, project_id, path) "
                "VALUES (gen_random_uuid(), gen_random_uuid(), $1)",
                path,
            )
        except asyncpg.ExclusionViolationError:
            return False
        finally:
            await connection.close()
        return True

    paths = ["/a/b", "/a/B/c", "/a", "/A/b", "/a/b/c/d"] * 6
    assert sum(await asyncio.gather(*map(insert, paths))) == 1
    assert [await insert(path) for path in ("/a2", "a/b", "a/b2", "a", "a/b/c")] == [
        *(True, True, True),
        *(False, False),
    ]


def test_a_version_that_knows_no_scopes_gets_no_token_that_had_some(fresh_database_url: str) -> None:
    url = fresh_database_url
    script = ScriptDirectory.from_config(config("")).get_revision("0011")
    assert isinstance(script.down_revision, str)
    asyncio.run(
        execute(
            url,
            """
            INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'x', 'x');
            INSERT INTO api_tokens (id, user_id, token_hash, token_prefix, scopes)
            SELECT gen_random_uuid(), id, 'narrow', 'narrow', ARRAY['read'] FROM app_users;
            INSERT INTO api_tokens (id, user_id, token_hash, token_prefix)
            SELECT gen_random_uuid(), id, 'all', 'all' FROM app_users;
            """,
        )
    )

    downgrade(url, script.down_revision)
    upgrade(url)

    rows = asyncio.run(
        answer(url, "SELECT token_hash, scopes, revoked_at IS NULL AS active FROM api_tokens ORDER BY 1")
    )
    assert [(row["token_hash"], row["scopes"], row["active"]) for row in rows] == [
        ("all", None, True),
        ("narrow", None, False),
    ]


def test_an_instruction_keeps_its_attempts_and_its_lease(fresh_database_url: str) -> None:
    url = fresh_database_url
    before_leases = (
        "SELECT attempts, locked_by, next_attempt_at, lease_expires_at, fence FROM agent_instructions"
    )
    leased = "SELECT attempt, lease_owner, available_at, lease_expires_at, fence FROM agent_instructions"
    asyncio.run(
        execute(
            url,
            """
            INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'x', 'x');
            INSERT INTO projects (id, owner_user_id, slug, name)
            SELECT gen_random_uuid(), id, 'comic', 'Comic' FROM app_users;
            INSERT INTO agent_instructions
                (id, project_id, instruction_text, status, attempt, lease_owner, available_at,
                 lease_expires_at, fence)
            SELECT gen_random_uuid(), id, 'Darker.', 'running', 2, 'worker-1', '2026-01-01Z', '2026-01-02Z', 7
            FROM projects;
            """,
        )
    )
    at_head = [tuple(row) for row in asyncio.run(answer(url, leased))]

    downgrade(url, "0012")
    below = [tuple(row) for row in asyncio.run(answer(url, before_leases))]
    upgrade(url)

    assert len(at_head) == 1
    assert below == at_head
    assert [tuple(row) for row in asyncio.run(answer(url, leased))] == at_head


def test_a_run_that_is_being_canceled_is_respelled_with_its_events(fresh_database_url: str) -> None:
    url = fresh_database_url
    script = ScriptDirectory.from_config(config("")).get_revision("0014")
    assert isinstance(script.down_revision, str)
    asyncio.run(
        execute(
            url,
            """
            INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'x', 'x');
            INSERT INTO projects (id, slug, name, owner_user_id)
            SELECT gen_random_uuid(), 'x', 'x', id FROM app_users;
            INSERT INTO runs (id, project_id, run_mode, stage, time_of_day, weather, run_log_path, status,
                candidates, plan_json)
            SELECT gen_random_uuid(), id, 'run', 'style', 'day', 'clear', 'x', 'queued', 1, '{"jobs": []}'
            FROM projects;
            UPDATE runs SET status = 'canceling';
            """,
        )
    )
    before = asyncio.run(answer(url, _CANCELED_RUN))

    downgrade(url, script.down_revision)
    below = asyncio.run(answer(url, _CANCELED_RUN))
    upgrade(url)

    assert [(row["status"], row["told"]) for row in below] == [("cancelling", ["queued", "cancelling"])]
    assert [(row["status"], row["told"]) for row in before] == [("canceling", ["queued", "canceling"])]
    assert asyncio.run(answer(url, _CANCELED_RUN)) == before


_CANCELED_RUN = """
    SELECT status, revision, (
        SELECT array_agg(data_json ->> 'status' ORDER BY seq) FROM run_events WHERE run_id = runs.id
    ) AS told FROM runs
"""
