"""Every list, page by page (issue 3, point 7)."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset, AssetLink
from kroma.audit.models import AuditEvent
from kroma.auth.models import ApiToken
from kroma.chat.models import ChatMessage, ChatSession
from kroma.costs.models import CostEvent
from kroma.db.engine import Database
from kroma.exports.models import ProjectExport
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.project_texts.models import Character, PromptTemplate, ReferenceSet, ReferenceSetItem, StyleGuide
from kroma.projects.models import Project
from kroma.projects.queries import get_project
from kroma.provider_accounts.models import ProviderAccount
from kroma.quality.models import QualityReport
from kroma.runs.models import Run, RunJob
from kroma.secrets.models import ProjectSecret

P = "/api/projects/comic"
MOMENT = datetime(2026, 5, 4, 12, 30, 15, 250_000, tzinfo=UTC)

Maker = Callable[[AsyncSession, Project, int], Awaitable[None]]


def moment(number: int) -> datetime:
    """Two rows share each stamp; the first two lie within one second."""
    return MOMENT + timedelta(milliseconds=number // 2 * 400)


def asset(project: Project, number: int, **more: Any) -> Asset:
    path = f"{uuid4()}.png"
    return Asset(
        **{
            "project_id": project.id,
            "kind": "input",
            "storage_uri": path,
            "rel_path": path,
            "created_at": moment(number),
            **more,
        }
    )


def run(project: Project, number: int, **more: Any) -> Run:
    return Run(**{"project_id": project.id, "run_mode": "dry", "created_at": moment(number), **more})


def cost(project: Project, number: int, **more: Any) -> CostEvent:
    return CostEvent(
        **{
            "project_id": project.id,
            "provider_code": "local",
            "event_type": "image_generation",
            "created_at": moment(number),
            **more,
        }
    )


async def _added(session: AsyncSession, row: object) -> None:
    session.add(row)
    await session.flush()


async def _projects(session: AsyncSession, project: Project, number: int) -> None:
    await _added(
        session,
        Project(
            owner_user_id=project.owner_user_id,
            slug=f"p{number}",
            name="P",
            created_at=MOMENT,
            updated_at=moment(number),
        ),
    )


async def _tokens(session: AsyncSession, project: Project, number: int) -> None:
    await _added(
        session,
        ApiToken(
            user_id=project.owner_user_id,
            token_hash=uuid4().hex,
            token_prefix="kroma_",
            created_at=moment(number),
        ),
    )


async def _runs(session: AsyncSession, project: Project, number: int) -> None:
    await _added(session, run(project, number))


async def _assets(session: AsyncSession, project: Project, number: int) -> None:
    await _added(session, asset(project, number))


async def _links(session: AsyncSession, project: Project, number: int) -> None:
    parent, child = asset(project, number), asset(project, number)
    await _added(session, parent)
    await _added(session, child)
    await _added(
        session,
        AssetLink(
            project_id=project.id,
            parent_asset_id=parent.id,
            child_asset_id=child.id,
            link_type="derived_from",
            updated_at=moment(number),
        ),
    )


def _named(model: Any, **more: Any) -> Maker:
    async def make(session: AsyncSession, project: Project, number: int) -> None:
        await _added(
            session, model(project_id=project.id, name=f"N{number}", updated_at=moment(number), **more)
        )

    return make


def _newest(model: Any, **more: Any) -> Maker:
    async def make(session: AsyncSession, project: Project, number: int) -> None:
        await _added(session, model(project_id=project.id, created_at=moment(number), **more))

    return make


def _changed(model: Any, **more: Any) -> Maker:
    async def make(session: AsyncSession, project: Project, number: int) -> None:
        await _added(session, model(project_id=project.id, updated_at=moment(number), **more))

    return make


async def _accounts(session: AsyncSession, project: Project, number: int) -> None:
    code = ("a-b", "a_b", "ab", "b", "a-c", "zz", "a")[number]
    await _added(session, ProviderAccount(project_id=project.id, provider_code=code, display_name=code))


async def _secrets(session: AsyncSession, project: Project, number: int) -> None:
    name = ("key", "Key", "k ey", "kéy", "a", "Z", "z")[number]
    await _added(session, ProjectSecret(project_id=project.id, provider_code="p", secret_name=name))


PARENT = UUID("7b1f0c39-4a55-4a3f-8a58-0d5a5e2d3c11")


async def _jobs(session: AsyncSession, project: Project, number: int) -> None:
    if number == 0:
        await _added(session, run(project, 0, id=PARENT))
    await _added(session, RunJob(run_id=PARENT, ordinal=number, job_key=f"style_{number}_a"))


async def _items(session: AsyncSession, project: Project, number: int) -> None:
    if number == 0:
        await _added(session, ReferenceSet(id=PARENT, project_id=project.id, name="Set"))
    await _added(
        session,
        ReferenceSetItem(
            project_id=project.id,
            reference_set_id=PARENT,
            label=f"L{number}",
            content_text="x",
            sort_order=(3, -1, 3, 0, 3, -1, 7)[number],
            updated_at=moment(number),
        ),
    )


async def _messages(session: AsyncSession, project: Project, number: int) -> None:
    if number == 0:
        await _added(session, ChatSession(id=PARENT, project_id=project.id, title="T"))
    await _added(
        session,
        ChatMessage(project_id=project.id, session_id=PARENT, role="user", content="x", created_at=MOMENT),
    )


async def _events(session: AsyncSession, project: Project, number: int) -> None:
    if number == 0:
        await _added(session, AgentInstruction(id=PARENT, project_id=project.id, instruction_text="x"))
    await _added(
        session,
        AgentInstructionEvent(
            project_id=project.id, instruction_id=PARENT, event_type="created", created_at=MOMENT
        ),
    )


class Listed(NamedTuple):
    """A list, and what makes its row of a number."""

    path: str
    key: str
    make: Maker


LISTS = [
    pytest.param(Listed("/api/projects", "projects", _projects), id="projects"),
    pytest.param(Listed("/auth/tokens", "auth_tokens", _tokens), id="tokens"),
    pytest.param(Listed(f"{P}/runs", "runs", _runs), id="runs"),
    pytest.param(Listed(f"{P}/runs/{PARENT}/jobs", "jobs", _jobs), id="run jobs"),
    pytest.param(Listed(f"{P}/assets", "assets", _assets), id="assets"),
    pytest.param(Listed(f"{P}/asset-links", "asset_links", _links), id="asset links"),
    pytest.param(
        Listed(f"{P}/quality-reports", "quality_reports", _newest(QualityReport, report_type="output_guard")),
        id="quality reports",
    ),
    pytest.param(
        Listed(f"{P}/cost-events", "cost_events", _newest(CostEvent, provider_code="local", event_type="x")),
        id="cost events",
    ),
    pytest.param(
        Listed(f"{P}/exports", "exports", _newest(ProjectExport, status="completed", export_format="zip")),
        id="exports",
    ),
    pytest.param(
        Listed(f"{P}/prompt-templates", "prompt_templates", _named(PromptTemplate, template_text="x")),
        id="prompt templates",
    ),
    pytest.param(Listed(f"{P}/provider-accounts", "provider_accounts", _accounts), id="provider accounts"),
    pytest.param(
        Listed(f"{P}/style-guides", "style_guides", _named(StyleGuide, instructions="x")), id="style guides"
    ),
    pytest.param(Listed(f"{P}/characters", "characters", _named(Character)), id="characters"),
    pytest.param(Listed(f"{P}/reference-sets", "reference_sets", _named(ReferenceSet)), id="reference sets"),
    pytest.param(Listed(f"{P}/reference-sets/{PARENT}/items", "items", _items), id="reference items"),
    pytest.param(
        Listed(f"{P}/chat/sessions", "sessions", _changed(ChatSession, title="T")), id="chat sessions"
    ),
    pytest.param(Listed(f"{P}/chat/sessions/{PARENT}/messages", "messages", _messages), id="chat messages"),
    pytest.param(
        Listed(f"{P}/agent/instructions", "instructions", _changed(AgentInstruction, instruction_text="x")),
        id="instructions",
    ),
    pytest.param(
        Listed(f"{P}/agent/instructions/{PARENT}/events", "events", _events), id="instruction events"
    ),
    pytest.param(Listed(f"{P}/secrets", "secrets", _secrets), id="secrets"),
    pytest.param(
        Listed(f"{P}/audit-events", "audit_events", _newest(AuditEvent, event_code="x.y")), id="audit events"
    ),
]


@pytest.fixture
async def project(db: Database, slug: str) -> Project:
    async with db.transaction() as session:
        return await get_project(session, slug)


async def walk(client: httpx.AsyncClient, path: str, key: str, **query: Any) -> list[list[Any]]:
    pages: list[list[Any]] = []
    after: str | None = None
    while after is not None or not pages:
        response = await client.get(path, params={**query, **({} if after is None else {"after": after})})
        assert response.status_code == 200, response.text
        body = response.json()
        assert body["count"] == len(body[key])
        pages.append(body[key])
        after = body["next"]
    return pages


@pytest.mark.parametrize("listed", LISTS)
async def test_walking_all_pages_yields_every_row_once_in_the_lists_order(
    db: Database, client: httpx.AsyncClient, project: Project, listed: Listed
) -> None:
    async with db.transaction() as session:
        for number in range(7):
            await listed.make(session, project, number)
    whole = (await client.get(listed.path)).json()
    assert whole["next"] is None
    assert len(whole[listed.key]) >= 7

    pages = await walk(client, listed.path, listed.key, limit=2)

    assert [row for page in pages for row in page] == whole[listed.key]
    assert {len(page) for page in pages[:-1]} == {2}


@pytest.mark.parametrize("listed", LISTS)
async def test_a_page_that_ends_with_the_list_has_no_next(
    db: Database, client: httpx.AsyncClient, project: Project, listed: Listed
) -> None:
    async with db.transaction() as session:
        for number in range(4):
            await listed.make(session, project, number)
    count = (await client.get(listed.path)).json()["count"]

    assert (await client.get(listed.path, params={"limit": count})).json()["next"] is None
    assert (await client.get(listed.path, params={"limit": count - 1})).json()["next"] is not None


@pytest.mark.parametrize("listed", LISTS)
async def test_a_cursor_of_another_list_or_a_changed_one_is_refused(
    db: Database, client: httpx.AsyncClient, project: Project, listed: Listed
) -> None:
    async with db.transaction() as session:
        for number in range(4):
            await listed.make(session, project, number)
        await _added(session, asset(project, 0))
        await _added(session, asset(project, 1))
        await _added(session, run(project, 0))
        await _added(session, run(project, 1))
    cursor = (await client.get(listed.path, params={"limit": 1})).json()["next"]
    other = f"{P}/runs" if listed.key == "assets" else f"{P}/assets"
    foreign = (await client.get(other, params={"limit": 1})).json()["next"]
    middle = len(cursor) // 2
    flipped = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]

    for wrong in (foreign, flipped, cursor[:-2], cursor + "AAAA", "", "é", "next", "A" * 5000):
        response = await client.get(listed.path, params={"after": wrong})
        assert response.status_code == 400, wrong
        assert response.json()["error_code"] == "validation_error"
        assert "'after'" in response.json()["error"]


async def test_a_cursor_of_another_project_is_refused(
    db: Database, client: httpx.AsyncClient, project: Project
) -> None:
    await client.post("/api/projects", json={"name": "Other"})
    async with db.transaction() as session:
        for number in range(3):
            await _runs(session, project, number)
    cursor = (await client.get(f"{P}/runs", params={"limit": 1})).json()["next"]

    response = await client.get("/api/projects/other/runs", params={"after": cursor})

    assert response.status_code == 400


async def test_rows_made_while_paging_move_nothing(
    db: Database, client: httpx.AsyncClient, project: Project
) -> None:
    async with db.transaction() as session:
        for number in range(6):
            await _assets(session, project, number)
    before = [row["id"] for row in (await client.get(f"{P}/assets")).json()["assets"]]
    seen: list[str] = []
    after: dict[str, str] = {}
    for number in range(10, 13):
        body = (await client.get(f"{P}/assets", params={"limit": 2, **after})).json()
        seen += [row["id"] for row in body["assets"]]
        after = {"after": body["next"]}
        async with db.transaction() as session:
            await _assets(session, project, number)

    assert seen == before


@pytest.mark.usefixtures("slug")
async def test_a_cursor_whose_row_is_gone_still_goes_on(client: httpx.AsyncClient) -> None:
    for number in range(4):
        await client.post(f"{P}/characters", json={"name": f"C{number}"})
    first = (await client.get(f"{P}/characters", params={"limit": 2})).json()
    await client.delete(f"{P}/characters/{first['characters'][1]['id']}")

    rest = (await client.get(f"{P}/characters", params={"after": first["next"]})).json()

    assert [row["name"] for row in rest["characters"]] == ["C1", "C0"]


@pytest.mark.usefixtures("slug")
@pytest.mark.parametrize("limit", [0, -5])
async def test_limits_below_one_count_as_one(client: httpx.AsyncClient, limit: int) -> None:
    for number in range(2):
        await client.post(f"{P}/characters", json={"name": f"C{number}"})

    assert (await client.get(f"{P}/characters", params={"limit": limit})).json()["count"] == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({"status": "failed"}, ["b"], id="status"),
        pytest.param({"status": " Failed "}, ["b"], id="status, trimmed, in any case"),
        pytest.param({"stage": "time"}, ["b", "a"], id="stage"),
        pytest.param({"mode": "run"}, ["c", "b"], id="mode"),
        pytest.param({"mode": "run", "stage": "time"}, ["b"], id="two of them"),
        pytest.param({"status": "partial"}, [], id="none"),
        pytest.param({"status": "canceling"}, ["d"], id="being canceled"),
        pytest.param({"status": "cancelling"}, ["d"], id="by its old name"),
    ],
)
async def test_runs_are_filtered(
    db: Database, client: httpx.AsyncClient, project: Project, query: dict[str, str], expected: list[str]
) -> None:
    async with db.transaction() as session:
        for number, (name, mode, stage, status) in enumerate(
            [
                ("a", "dry", "time", "ok"),
                ("b", "run", "time", "failed"),
                ("c", "run", "style", "ok"),
                ("d", "dry", "style", "canceling"),
            ]
        ):
            row = run(project, number * 2, run_mode=mode, stage=stage, status=status, model_name=name)
            await _added(session, row)

    runs = (await client.get(f"{P}/runs", params=query)).json()["runs"]

    assert [row["model_name"] for row in runs] == expected


@pytest.mark.parametrize(
    ("path", "field", "allowed"),
    [
        pytest.param(
            f"{P}/runs",
            "status",
            "queued, running, canceling, ok, partial, failed, canceled, unknown",
            id="run status",
        ),
        pytest.param(f"{P}/runs", "stage", "style, time, weather, character", id="run stage"),
        pytest.param(f"{P}/runs", "mode", "dry, run", id="run mode"),
        pytest.param(
            f"{P}/assets",
            "kind",
            "input, reference, candidate_output, candidate_final_output, job_final_output, "
            "background_removed, background_refined, upscaled, color_corrected, run_log",
            id="asset kind",
        ),
    ],
)
@pytest.mark.parametrize("value", ["other", ""])
@pytest.mark.usefixtures("slug")
async def test_an_unknown_word_in_a_filter_names_the_known_ones(
    client: httpx.AsyncClient, path: str, field: str, allowed: str, value: str
) -> None:
    response = await client.get(path, params={field: value})

    assert response.status_code == 400
    assert response.json()["error"] == f"Field '{field}' must be one of: {allowed}"


async def test_a_wrong_filter_of_an_unknown_project_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/projects/none/runs", params={"mode": "x"})).status_code == 404


async def test_assets_are_filtered_by_kind_run_and_job(
    db: Database, client: httpx.AsyncClient, project: Project
) -> None:
    async with db.transaction() as session:
        one = run(project, 0)
        await _added(session, one)
        job = RunJob(run_id=one.id, ordinal=0, job_key="style_1_a")
        await _added(session, job)
        for number in range(3):
            await _added(session, asset(project, number, kind="candidate_output", run_id=one.id))
        await _added(session, asset(project, 4, kind="job_final_output", run_id=one.id, job_id=job.id))
        await _added(session, asset(project, 5))

    async def count(**query: str) -> int:
        return sum(len(page) for page in await walk(client, f"{P}/assets", "assets", limit=2, **query))

    assert await count(kind="candidate_output") == 3
    assert await count(run_id=str(one.id)) == 4
    assert await count(job_id=str(job.id)) == 1
    assert await count(kind="input", run_id=str(one.id)) == 0
    assert await count(run_id=str(uuid4())) == 0
    assert await count(job_id="x") == 0


async def test_cost_events_are_filtered_by_run_and_provider(
    db: Database, client: httpx.AsyncClient, project: Project
) -> None:
    async with db.transaction() as session:
        one = run(project, 0)
        await _added(session, one)
        for number in range(3):
            await _added(session, cost(project, number, run_id=one.id))
        await _added(session, cost(project, 4, provider_code="openai"))

    async def count(**query: str) -> int:
        return sum(len(p) for p in await walk(client, f"{P}/cost-events", "cost_events", limit=2, **query))

    assert await count(run_id=str(one.id)) == 3
    assert await count(run_id="x") == 0
    assert await count(provider="openai") == 1
    assert await count(provider="nobody") == 0
