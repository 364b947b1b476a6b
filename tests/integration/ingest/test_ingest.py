"""Run logs become rows: every rule of pipeline.md 9, on PostgreSQL."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.assets.models import Asset, AssetLink
from kroma.audit.models import AuditEvent
from kroma.costs.models import CostEvent
from kroma.db.engine import Database
from kroma.ingest.errors import RunLogConflictError
from kroma.ingest.service import IngestResult, ingest_log
from kroma.projects.errors import ProjectNotFoundError
from kroma.projects.models import Project
from kroma.quality.models import QualityReport
from kroma.runlog.errors import RunLogInvalidError
from kroma.runs.models import Run, RunCandidate, RunJob
from support.builders.factories import make_project

pytestmark = pytest.mark.timeout(60)

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"
EVERY = sorted(path.name for path in LOGS.iterdir())
PATH = "var/projects/lanternfall/runs/run_1.json"
TABLES = (Run, RunJob, RunCandidate, Asset, AssetLink, QualityReport, CostEvent)


def kept(name: str) -> dict[str, Any]:
    return json.loads((LOGS / name).read_bytes())


@pytest.fixture
async def project(db: Database) -> Project:
    async with db.transaction() as session:
        return await make_project(session, slug="lanternfall")


async def ingested(
    db: Database, project: Project, log: str | dict[str, Any], *, path: str = PATH
) -> IngestResult:
    data = (LOGS / log).read_bytes() if isinstance(log, str) else json.dumps(log).encode()
    return await ingest_log(db, project_id=project.id, log_path=path, data=data)


async def rows(session: AsyncSession) -> dict[str, list[dict[str, Any]]]:
    """Everything in the tables, by table, in order of id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for model in TABLES:
        result = await session.execute(select(model.__table__).order_by(model.id))
        found[model.__tablename__] = [dict(row) for row in result.mappings()]
    return found


async def snapshot(db: Database) -> dict[str, list[dict[str, Any]]]:
    async with db.transaction() as session:
        return await rows(session)


async def jobs_of(db: Database) -> Sequence[RunJob]:
    async with db.transaction() as session:
        return (await session.scalars(select(RunJob).order_by(RunJob.ordinal))).all()


async def candidates_of(db: Database) -> Sequence[RunCandidate]:
    statement = select(RunCandidate).join(RunJob, RunJob.id == RunCandidate.job_id)
    async with db.transaction() as session:
        ordered = statement.order_by(RunJob.ordinal, RunCandidate.candidate_index)
        return (await session.scalars(ordered)).all()


async def assets_of(db: Database) -> dict[str, Asset]:
    async with db.transaction() as session:
        return {asset.rel_path: asset for asset in await session.scalars(select(Asset))}


async def links_of(db: Database) -> set[tuple[str, str, str]]:
    assets = {asset.id: path for path, asset in (await assets_of(db)).items()}
    async with db.transaction() as session:
        links = await session.scalars(select(AssetLink))
        return {(assets[x.parent_asset_id], x.link_type, assets[x.child_asset_id]) for x in links}


@pytest.mark.parametrize("name", EVERY)
async def test_a_second_ingest_changes_no_row(db: Database, project: Project, name: str) -> None:
    first = await ingested(db, project, name)
    before = await snapshot(db)
    second = await ingested(db, project, name)

    assert second == first
    assert await snapshot(db) == before


async def test_a_run_of_the_original_takes_its_fields_from_the_log(db: Database, project: Project) -> None:
    result = await ingested(db, project, "g2_run_ok.json")

    async with db.transaction() as session:
        run = await session.get_one(Run, result.run_id)
    assert (run.run_mode, run.status, run.stage, run.time_of_day, run.weather) == (
        "run",
        "ok",
        "time",
        "night",
        "clear",
    )
    assert (run.model_name, run.image_size, run.image_quality) == ("gpt-image-1", "1024x1536", "high")
    assert (run.provider_code, run.started_at, run.finished_at) == (None, None, None)
    assert (run.run_log_path, run.candidates) == (PATH, 2)
    assert run.settings_snapshot_json.keys() == {"timestamp", "generation", "postprocess", "output_guard"}


async def test_the_result_counts_what_the_log_makes(db: Database, project: Project) -> None:
    result = await ingested(db, project, "g2_run_ok.json")

    assert (result.ok, result.project_slug, result.run_log_path, result.status) == (
        True,
        "lanternfall",
        PATH,
        "ok",
    )
    assert (result.jobs, result.candidates, result.cost_events_written) == (3, 6, 0)
    assert result.quality_reports_written == 7
    assert result.assets_upserted == 3 + 2 + 6 + 6  # scenes, styles, generated, enlarged


async def test_jobs_keep_their_order_and_their_entry(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")

    jobs = await jobs_of(db)
    assert [job.job_key for job in jobs] == ["time_1_mill_yard", "time_2_harbor_gate", "time_3_attic"]
    assert [job.meta_json for job in jobs] == kept("g2_run_ok.json")["jobs"]
    assert [job.selected_candidate_index for job in jobs] == [1, 1, 1]
    assert jobs[0].prompt_text == "Redraw mill yard by night, ink and wash."
    assert jobs[0].final_output == "var/projects/lanternfall/upscaled/time_1_mill_yard__c1_x2.png"


async def test_candidates_keep_ranks_paths_and_their_entry(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")

    rejected = (await candidates_of(db))[3]
    entry = kept("g2_run_ok.json")["jobs"][1]["candidates"][1]
    assert (rejected.candidate_index, rejected.status) == (2, "failed_output_guard")
    assert (rejected.rank_hard_failures, rejected.rank_soft_warnings) == (1, 1)
    assert float(rejected.rank_avg_chroma_exceed) == 3.4021
    assert (rejected.output_path, rejected.final_output_path) == (entry["output"], None)
    assert rejected.meta_json == entry


async def test_a_winners_picture_stays_its_candidates(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")

    assets = await assets_of(db)
    winner, second = (await candidates_of(db))[:2]
    final = assets["upscaled/time_1_mill_yard__c1_x2.png"]
    assert (final.kind, final.candidate_id) == ("job_final_output", winner.id)
    assert final.metadata_json == {"selected_candidate": 1}
    assert (await jobs_of(db))[0].final_asset_id == final.id
    assert winner.final_asset_id == final.id
    assert winner.output_asset_id == assets["outputs/time_1_mill_yard__c1.png"].id
    other = assets["upscaled/time_1_mill_yard__c2_x2.png"]
    assert (other.kind, other.candidate_id) == ("candidate_final_output", second.id)


async def test_one_picture_serves_as_output_and_final_output(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_failed_guard.json")

    (_, done) = await candidates_of(db)
    asset = (await assets_of(db))["outputs/style_2_well.png"]
    assert done.output_asset_id == done.final_asset_id == asset.id
    assert asset.kind == "job_final_output"


async def test_a_rejected_picture_is_found_in_the_archive(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_failed_guard.json")

    (rejected, _) = await candidates_of(db)
    assets = await assets_of(db)
    archived = assets["archive/bad/style_1_copper_roof_bad_1767312011-004.png"]
    assert (archived.kind, archived.candidate_id) == ("candidate_output", rejected.id)
    assert (rejected.output_asset_id, rejected.final_asset_id) == (archived.id, None)
    assert "outputs/style_1_copper_roof.png" not in assets


async def test_an_asset_without_a_record_has_no_checksum(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")

    asset = (await assets_of(db))["in/attic.png"]
    assert (asset.kind, asset.sha256, asset.mime_type, asset.width, asset.size_bytes) == (
        "input",
        None,
        None,
        None,
        None,
    )
    assert (asset.run_id, asset.job_id, asset.candidate_id) == (None, None, None)


async def test_an_asset_of_ours_has_all_that_was_recorded(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")

    file = kept("v2_run.json")["jobs"][0]["candidates"][1]["file"]
    asset = (await assets_of(db))[file["path"]]
    recorded = (asset.sha256, asset.size_bytes, asset.mime_type, asset.width, asset.height, asset.storage_uri)
    names = ("sha256", "size_bytes", "mime_type", "width", "height", "storage_uri")
    assert recorded == tuple(file[name] for name in names)
    assert asset.id == UUID(file["asset_id"])


async def test_lineage_leads_from_inputs_to_results(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")

    run = kept("v2_run.json")["run_id"]
    made = (f"archive/bad/{run}/style_1_quarry__c1_bad.png", f"outputs/{run}/style_1_quarry__c2.png")
    expected = {("in/quarry.png", "derived_from", child) for child in made}
    expected |= {(f"refs/ink_{style}.png", "reference_of", child) for style in "ab" for child in made}
    assert await links_of(db) == expected


async def test_lineage_follows_a_candidates_chain(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")

    links = await links_of(db)
    for number in (1, 2):
        parent, child = (f"outputs/time_3_attic__c{number}.png", f"upscaled/time_3_attic__c{number}_x2.png")
        assert (parent, "derived_from", child) in links
        assert ("in/attic.png", "derived_from", parent) in links
        assert ("in/attic.png", "derived_from", child) not in links


async def test_each_candidate_and_the_run_get_a_report(db: Database, project: Project) -> None:
    result = await ingested(db, project, "g2_run_ok.json")

    async with db.transaction() as session:
        reports = (await session.scalars(select(QualityReport).order_by(QualityReport.created_at))).all()
    *each, whole = reports
    candidates = await candidates_of(db)
    assert [report.candidate_id for report in each] == [candidate.id for candidate in candidates]
    assert [report.asset_id for report in each[:3]] == [c.final_asset_id for c in candidates[:3]]
    assert each[3].asset_id == candidates[3].output_asset_id
    assert (each[3].hard_failures, each[3].soft_warnings, float(each[3].avg_chroma_exceed)) == (1, 1, 3.4021)
    entry = kept("g2_run_ok.json")["jobs"][1]["candidates"][1]
    assert each[3].summary_json == {
        "status": "failed_output_guard",
        "rank": entry["rank"],
        "output_path": entry["output"],
        "final_output_path": None,
        "output_guard": entry["output_guard"],
    }
    assert (whole.run_id, whole.job_id, whole.candidate_id, whole.asset_id) == (
        result.run_id,
        None,
        None,
        None,
    )
    guard = kept("g2_run_ok.json")["output_guard"]
    assert whole.summary_json == {"scope": "run", "output_guard": guard}
    assert {(report.report_type, report.grade) for report in reports} == {("output_guard", "")}


async def test_without_guard_settings_a_run_has_no_report_of_its_own(db: Database, project: Project) -> None:
    log = kept("g2_dry.json") | {"output_guard": None}

    assert (await ingested(db, project, log)).quality_reports_written == 2


@pytest.mark.parametrize("name", ["g1_dry.json", "g2_dry.json", "v2_dry.json"])
async def test_a_dry_run_leaves_plans_and_reports_only(db: Database, project: Project, name: str) -> None:
    result = await ingested(db, project, name)

    jobs, candidates = await jobs_of(db), await candidates_of(db)
    assert result.status == "ok"
    assert [(job.status, job.selected_candidate_index) for job in jobs] == [("planned", None)] * len(jobs)
    assert [(c.candidate_index, c.status, c.output_path, c.final_output_path) for c in candidates] == [
        (1, "planned", None, None)
    ] * len(jobs)
    assert result.quality_reports_written == len(jobs) + 1
    assert (result.assets_upserted, result.cost_events_written) == (0, 0)
    assert await assets_of(db) == {}


async def test_costs_are_kept_as_the_log_tells_them(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_cost_events.json")

    async with db.transaction() as session:
        costs = (await session.scalars(select(CostEvent).order_by(CostEvent.created_at))).all()
    told = [
        (c.provider_code, c.event_type, *map(float, (c.units, c.unit_cost_usd, c.total_cost_usd)))
        for c in costs
    ]
    assert told == [
        ("openai", "image_generation", 2, 0.25, 0.5),
        ("photoroom", "background_removal", 4, 0.025, 0.1),
        ("unknown", "upscale", 0, 0, 0),
        ("unknown", "legacy_event", 0, 0, 0),
    ]
    assert [cost.job_id for cost in costs] == ["time_1_mill_yard", "no_such_job", None, None]
    assert [cost.currency for cost in costs] == ["USD", "EUR", "USD", "USD"]
    assert [cost.meta_json for cost in costs] == kept("g2_cost_events.json")["cost_events"]


async def test_an_unknown_price_says_so(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")

    async with db.transaction() as session:
        costs = (await session.scalars(select(CostEvent).order_by(CostEvent.created_at))).all()
    assert [str(cost.id) for cost in costs] == [c["id"] for c in kept("v2_run.json")["cost_events"]]
    assert [(float(c.total_cost_usd), c.meta_json.get("price")) for c in costs] == [(0, None), (0, "unknown")]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        pytest.param("g2_no_jobs.json", "partial", id="no jobs"),
        pytest.param("g2_jobs_not_an_array.json", "unknown", id="no array"),
    ],
)
async def test_a_log_without_jobs_is_a_run_all_the_same(
    db: Database, project: Project, name: str, status: str
) -> None:
    result = await ingested(db, project, name)

    assert (result.status, result.jobs) == (status, 0)
    async with db.transaction() as session:
        assert (await session.get_one(Run, result.run_id)).status == status


async def test_odd_statuses_and_repeated_ids_pass_through(db: Database, project: Project) -> None:
    await ingested(db, project, "g1_jobs_file.json")

    assert [(job.job_key, job.status) for job in await jobs_of(db)] == [
        ("cover", "done"),
        ("cover_2", "accepted"),
        ("job_3", "done"),
    ]
    assert [c.status for c in await candidates_of(db)] == ["done", "completed", "done"]


async def test_a_lost_checksum_does_not_erase_the_stored_one(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")
    async with db.transaction() as session:
        await session.execute(text("UPDATE assets SET sha256 = 'abc', mime_type = 'image/png', width = 7"))
    await ingested(db, project, "g2_run_ok.json")

    assets = (await assets_of(db)).values()
    assert {(asset.sha256, asset.mime_type, asset.width) for asset in assets} == {("abc", "image/png", 7)}


async def test_a_picture_that_moved_to_s3_stays_there(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")
    async with db.transaction() as session:
        await session.execute(
            text("UPDATE assets SET storage_uri = 's3://b/' || rel_path, storage_backend = 's3'")
        )
    await ingested(db, project, "v2_run.json")

    assert all(asset.storage_uri.startswith("s3://b/") for asset in (await assets_of(db)).values())


async def test_a_result_used_as_a_scene_stays_its_runs_result(db: Database, project: Project) -> None:
    await ingested(db, project, "g2_run_ok.json")
    before = (await assets_of(db))["upscaled/time_1_mill_yard__c1_x2.png"]
    log = kept("g2_run_failed_guard.json")
    log["jobs"][1]["input_images"] = ["var/projects/lanternfall/upscaled/time_1_mill_yard__c1_x2.png"]
    await ingested(db, project, log, path="runs/run_2.json")

    after = (await assets_of(db))["upscaled/time_1_mill_yard__c1_x2.png"]
    unchanged = ("id", "kind", "run_id", "job_id", "candidate_id", "created_at")
    assert [getattr(after, name) for name in unchanged] == [getattr(before, name) for name in unchanged]
    link = ("upscaled/time_1_mill_yard__c1_x2.png", "derived_from", "outputs/style_2_well.png")
    assert link in await links_of(db)


async def test_an_edited_log_of_the_original_is_followed(db: Database, project: Project) -> None:
    first = await ingested(db, project, "g2_run_ok.json")
    keys = {job.job_key: job.id for job in await jobs_of(db)}
    log = kept("g2_run_ok.json")
    log["jobs"] = [log["jobs"][2], log["jobs"][0]]
    log["jobs"][0]["status"] = "failed_output_guard"
    del log["jobs"][1]["candidates"][1]
    second = await ingested(db, project, log)

    jobs = await jobs_of(db)
    assert (second.run_id, second.status) == (first.run_id, "failed")
    assert [(job.job_key, job.status, job.ordinal) for job in jobs] == [
        ("time_3_attic", "failed_output_guard", 0),
        ("time_1_mill_yard", "done", 1),
    ]
    assert [job.id for job in jobs] == [keys["time_3_attic"], keys["time_1_mill_yard"]]
    assert [c.candidate_index for c in await candidates_of(db)] == [1, 2, 1]
    async with db.transaction() as session:
        assert len((await session.scalars(select(QualityReport))).all()) == 4


async def test_a_persons_report_survives_a_second_ingest(db: Database, project: Project) -> None:
    result = await ingested(db, project, "g2_run_ok.json")
    async with db.transaction() as session:
        session.add(
            QualityReport(
                project_id=project.id, run_id=result.run_id, report_type="human_review", grade="good"
            )
        )
    await ingested(db, project, "g2_run_ok.json")

    async with db.transaction() as session:
        graded = await session.scalars(select(QualityReport.report_type).where(QualityReport.grade != ""))
        assert graded.all() == ["human_review"]


async def test_a_link_made_by_hand_is_no_obstacle(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")
    async with db.transaction() as session:
        link = (await session.scalars(select(AssetLink).limit(1))).one()
        ends = (link.parent_asset_id, link.child_asset_id, link.link_type)
        await session.execute(delete(AssetLink).where(AssetLink.id == link.id))
        session.add(
            AssetLink(
                project_id=project.id, parent_asset_id=ends[0], child_asset_id=ends[1], link_type=ends[2]
            )
        )
    before = len(await links_of(db))
    await ingested(db, project, "v2_run.json")

    assert len(await links_of(db)) == before


async def existing_run(db: Database, project: Project) -> None:
    """The run of ``v2_run.json`` as its steps left it, before its log is ingested."""
    log = kept("v2_run.json")
    async with db.transaction() as session:
        session.add(
            Run(
                id=UUID(log["run_id"]),
                project_id=project.id,
                run_mode="run",
                status="running",
                run_log_path=f"runs/run_{log['run_id']}.json",
                plan_json={"version": 1},
            )
        )
        await session.flush()
        for ordinal, entry in enumerate(log["jobs"]):
            job_id = UUID(entry["job_id"])
            session.add(
                RunJob(
                    id=job_id,
                    run_id=UUID(log["run_id"]),
                    ordinal=ordinal,
                    job_key=entry["id"],
                    status=entry["status"],
                    prompt_text="as planned",
                )
            )
            await session.flush()
            for candidate in entry["candidates"][:1]:
                session.add(
                    RunCandidate(
                        id=UUID(candidate["id"]),
                        job_id=job_id,
                        candidate_index=candidate["candidate_index"],
                        status="as the step wrote it",
                        rank_hard_failures=9,
                    )
                )
        await session.flush()


async def test_a_run_of_ours_only_gains_what_was_missing(db: Database, project: Project) -> None:
    await existing_run(db, project)
    log = kept("v2_run.json")
    result = await ingested(db, project, "v2_run.json", path="somewhere/else.json")

    async with db.transaction() as session:
        run = await session.get_one(Run, UUID(log["run_id"]))
    assert (run.status, run.plan_json) == ("running", {"version": 1})
    assert (result.run_log_path, result.status) == (f"runs/run_{log['run_id']}.json", "failed")
    jobs, candidates, assets = await jobs_of(db), await candidates_of(db), await assets_of(db)
    assert [job.meta_json for job in jobs] == log["jobs"]
    assert [job.prompt_text for job in jobs] == ["as planned"] * 2
    assert (jobs[0].final_output, jobs[0].selected_candidate_index) == (log["jobs"][0]["final_output"], 2)
    assert jobs[0].final_asset_id == assets[log["jobs"][0]["final_output"]].id
    assert [(c.status, c.rank_hard_failures) for c in candidates] == [
        ("as the step wrote it", 9),
        ("done", 0),
    ]
    assert [str(c.id) for c in candidates] == [c["id"] for c in log["jobs"][0]["candidates"]]
    assert candidates[0].output_asset_id == assets[log["jobs"][0]["candidates"][0]["output"]].id
    assert candidates[0].meta_json == log["jobs"][0]["candidates"][0]


async def test_a_finished_run_of_ours_is_made_from_its_log_where_it_is_unknown(
    db: Database, project: Project
) -> None:
    log = kept("v2_run.json")
    await ingested(db, project, "v2_run.json")

    async with db.transaction() as session:
        run = await session.get_one(Run, UUID(log["run_id"]))
    assert (run.status, run.error_code, run.provider_code) == ("failed", "provider_failed", "local")
    assert run.started_at is not None
    jobs = await jobs_of(db)
    assert [str(job.id) for job in jobs] == [job["job_id"] for job in log["jobs"]]
    assert (jobs[1].error_code, jobs[1].attempt, jobs[1].status) == ("provider_failed", 3, "failed")


async def test_a_run_of_another_project_is_not_taken_over(db: Database, project: Project) -> None:
    await ingested(db, project, "v2_run.json")
    async with db.transaction() as session:
        other = await make_project(session, slug="other")

    with pytest.raises(RunLogConflictError, match="belongs to another project"):
        await ingested(db, other, "v2_run.json")


async def test_a_log_of_the_original_does_not_take_over_a_run_of_ours(db: Database, project: Project) -> None:
    await existing_run(db, project)
    path = f"runs/run_{kept('v2_run.json')['run_id']}.json"

    with pytest.raises(RunLogConflictError, match="has its log at this path"):
        await ingested(db, project, "g2_run_ok.json", path=path)


async def test_a_bad_row_in_the_middle_leaves_nothing(db: Database, project: Project) -> None:
    log = kept("v2_run.json")
    log["cost_events"].append(log["cost_events"][0])  # one id twice: the last table refuses it

    with pytest.raises(RunLogConflictError, match=r"^Run log '.*' cannot be ingested: .*cost_events.*\)$"):
        await ingested(db, project, log)
    assert all(not found for found in (await snapshot(db)).values())


async def test_a_number_too_large_for_its_column_leaves_nothing(db: Database, project: Project) -> None:
    log = kept("g2_run_ok.json") | {"cost_events": [{"cost_usd": 10**9, "units": 10**-6}]}

    with pytest.raises(RunLogInvalidError, match="': the database cannot store a value: "):
        await ingested(db, project, log)
    assert all(not found for found in (await snapshot(db)).values())


async def test_the_trail_names_the_run(db: Database, project: Project) -> None:
    result = await ingested(db, project, "g2_dry.json")

    async with db.transaction() as session:
        event = (await session.scalars(select(AuditEvent))).one()
    assert (event.event_code, event.project_id) == ("run.ingested", project.id)
    assert (event.payload_json["run_id"], event.payload_json["jobs"]) == (str(result.run_id), 2)


async def test_a_project_that_is_gone_is_not_found(db: Database) -> None:
    with pytest.raises(ProjectNotFoundError):
        await ingest_log(db, project_id=UUID(int=1), log_path=PATH, data=(LOGS / "g2_dry.json").read_bytes())
