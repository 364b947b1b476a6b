"""Runs from trigger to rows, through the worker's own tasks."""

import asyncio
import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select, text

from kroma.assets.models import AssetLink
from kroma.ingest.service import ingest_log
from kroma.providers.fake import FakeOutcome
from kroma.queue.messages import FinishRun
from kroma.runlog.reader import read_log
from kroma.storage.base import ObjectStore, StoredObject
from kroma.storage.directory import DirectoryStore, DirectoryStores
from kroma.storage.errors import StoreFullError
from kroma.sync.models import SyncJob
from support.builders.factories import png
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(120)

RED = (200, 40, 40)
STRICT = {"output_guard": {"enforce_grayscale": True}}


def with_manifest(studio: Studio, manifest: dict[str, object]) -> None:
    (studio.settings.data_dir / "config").mkdir()
    (studio.settings.data_dir / "config" / "pipeline.settings.json").write_text(
        json.dumps({"manifest_path": "manifest.json"})
    )
    (studio.settings.data_dir / "manifest.json").write_text(json.dumps(manifest))


async def test_a_run_makes_checks_ranks_and_keeps_its_pictures(studio: Studio) -> None:
    rows = await studio.run_to_end()

    assert (rows.run.status, rows.run.error) == ("ok", None)
    assert [job.job_key for job in rows.jobs] == ["style_1_harbor", "style_2_tower"]
    assert [(job.status, job.selected_candidate_index) for job in rows.jobs] == [("done", 1), ("done", 1)]
    for job in rows.jobs:
        first, second = rows.candidates[job.job_key]
        assert (first.status, second.status) == ("done", "done")
        assert job.final_output == first.output_path == first.final_output_path
        assert job.final_asset_id == first.final_asset_id == first.output_asset_id
    kinds = [asset.kind for asset in rows.assets]
    assert sorted(kinds) == ["candidate_output"] * 2 + ["input"] * 2 + ["job_final_output"] * 2
    for asset in rows.assets:
        data = (studio.root / asset.rel_path).read_bytes()
        assert (asset.sha256, asset.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (asset.mime_type, asset.width, asset.height) == ("image/png", 192, 128)


async def test_scene_and_style_are_parents_of_every_candidate(studio: Studio) -> None:
    (studio.root / "ink.png").write_bytes(png())
    rows = await studio.run_to_end(["harbor.png"], style_refs=["ink.png"], candidates=1)
    async with studio.db.transaction() as session:
        links = (await session.scalars(select(AssetLink))).all()
    by_id = {asset.id: asset.rel_path for asset in rows.assets}
    output = rows.candidates["style_1_harbor"][0].output_path
    assert {(by_id[e.parent_asset_id], by_id[e.child_asset_id], e.link_type) for e in links} == {
        ("harbor.png", output, "derived_from"),
        ("ink.png", output, "reference_of"),
    }


async def test_the_log_lies_where_the_run_says_and_ingests_again_without_change(studio: Studio) -> None:
    rows = await studio.run_to_end()
    data = (studio.root / (rows.run.run_log_path or "")).read_bytes()
    log = read_log(data, source="log")
    assert rows.run.run_log_path == f"runs/run_{rows.run.id}.json"
    assert [job.job_id for job in log.jobs] == [job.id for job in rows.jobs]
    assert log.timestamp.endswith("Z")
    assert log.steps == ["generate", "check_quality", "rank"]
    assert [step.name for step in log.jobs[0].steps][-1] == "rank"

    await ingest_log(studio.db, project_id=studio.project.id, log_path=rows.run.run_log_path or "", data=data)
    again = await studio.rows(rows.run)
    assert {a.id for a in again.assets} == {a.id for a in rows.assets}
    assert {r.id for r in again.reports} == {r.id for r in rows.reports}
    assert {c.id for c in again.costs} == {c.id for c in rows.costs}


async def test_every_answered_call_is_a_cost_event(studio: Studio) -> None:
    studio.script(FakeOutcome(scene="tower.png", candidate=2, garbage=True), cost_usd=Decimal("0.04"))
    rows = await studio.run_to_end()
    assert [event.total_cost_usd for event in rows.costs] == [Decimal("0.04")] * 4
    assert {event.job_id for event in rows.costs} == {"style_1_harbor", "style_2_tower"}


async def test_a_candidate_over_the_threshold_loses_to_a_grey_one(studio: Studio) -> None:
    studio.script(FakeOutcome(candidate=1, rgb=RED))
    rows = await studio.run_to_end(["harbor.png"])
    (job,) = rows.jobs
    assert job.selected_candidate_index == 2
    red, gray = rows.candidates[job.job_key]
    assert (red.rank_soft_warnings, gray.rank_soft_warnings) == (1, 0)
    assert red.rank_avg_chroma_exceed == Decimal("104.6667")
    assert "more warnings than candidate 2" in red.meta_json["reason"]
    assert gray.meta_json["reason"].startswith("Chosen: fewest warnings (")


async def test_a_rejected_candidate_moves_to_the_archive(studio: Studio) -> None:
    with_manifest(studio, STRICT)
    studio.script(FakeOutcome(candidate=1, rgb=RED))
    rows = await studio.run_to_end(["harbor.png"])
    (job,) = rows.jobs
    bad, good = rows.candidates[job.job_key]
    assert (bad.status, good.status, job.selected_candidate_index) == ("failed_output_guard", "done", 2)
    assert bad.output_path == f"archive/bad/{rows.run.id}/style_1_harbor__c1_bad.png"
    assert (studio.root / bad.output_path).is_file()
    assert not list((studio.root / "outputs").rglob("*__c1.png"))
    assert bad.final_output_path is None
    assert rows.run.status == "ok"


async def test_a_job_without_a_passing_candidate_fails_its_run(studio: Studio) -> None:
    with_manifest(studio, STRICT)
    studio.script(FakeOutcome(scene="harbor", rgb=RED))
    rows = await studio.run_to_end()
    assert [job.status for job in rows.jobs] == ["failed_output_guard", "done"]
    run = rows.run
    assert (run.status, run.error_kind, run.error_code) == ("failed", "provider", "pipeline_command_failed")
    assert run.error == "Pipeline command failed: 1 of 2 jobs have no candidate that passed"
    assert run.stderr.splitlines()[0] == run.error
    assert rows.jobs[0].meta_json["failure_reason"] == "all_candidates_failed_output_guard"
    # What was made stays listed.
    assert sum(asset.kind in {"candidate_output", "job_final_output"} for asset in rows.assets) == 4


async def test_a_refused_call_costs_its_candidate_only(studio: Studio) -> None:
    studio.script(FakeOutcome(candidate=1, error="the prompt is not allowed"))
    rows = await studio.run_to_end(["harbor.png"])
    refused, made = rows.candidates["style_1_harbor"]
    assert (refused.status, made.status, rows.run.status) == ("failed", "done", "ok")
    assert "the prompt is not allowed" in refused.meta_json["error"]
    assert rows.jobs[0].selected_candidate_index == 2


async def test_a_passing_fault_is_tried_again_for_the_missing_candidate_only(studio: Studio) -> None:
    provider = studio.script(FakeOutcome(candidate=2, times=1, error="busy", retryable=True))
    run = await studio.trigger(["harbor.png"])
    await studio.work()
    waiting = (await studio.rows(run)).jobs[0]
    assert (waiting.status, waiting.attempt, waiting.error_code) == ("queued", 1, "provider_refused")

    async with asyncio.timeout(30):
        while (await studio.rows(run)).run.status != "ok":
            await asyncio.sleep(0.05)
            await studio.work()
    assert sorted(call.candidate_index for call in provider.calls) == [1, 2, 2]


async def test_a_run_whose_calls_all_fail_is_read_back_with_the_reason(studio: Studio) -> None:
    studio.script(FakeOutcome(scene="harbor", error="no credit left"))
    rows = await studio.run_to_end()
    assert [job.status for job in rows.jobs] == ["failed", "done"]
    assert (rows.run.status, rows.run.error_kind) == ("failed", "provider")
    assert "no credit left" in (rows.run.error or "")
    assert (studio.root / (rows.run.run_log_path or "")).is_file()
    assert any(asset.kind == "job_final_output" for asset in rows.assets)


async def test_bytes_that_are_no_picture_never_become_one(studio: Studio) -> None:
    studio.script(FakeOutcome(garbage=True))
    rows = await studio.run_to_end(["harbor.png"], candidates=1)
    assert rows.run.status == "failed"
    assert "no usable picture" in (rows.run.error or "")
    assert [asset.kind for asset in rows.assets] == []
    assert not (studio.root / "outputs").exists() or not list((studio.root / "outputs").rglob("*.png"))


class NoSpaceForSecondCandidates(DirectoryStore):
    """A disk that is full just when the second candidates come."""

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        if key.endswith("__c2.png"):
            raise StoreFullError(key)
        return await super().put(key, data, sha256=sha256)


class NearlyFullStores(DirectoryStores):
    """Opens such disks."""

    def __init__(self) -> None:
        super().__init__(Path("/"), allow_any_root=True)

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:  # noqa: ARG002
        return NoSpaceForSecondCandidates(Path(location))


async def test_a_full_disk_fails_the_run_and_keeps_what_was_made(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    studio.stores = NearlyFullStores()
    await studio.work()
    rows = await studio.rows(run)
    assert (rows.run.status, rows.run.error_kind, rows.run.error_code) == ("failed", "infra", "store_full")
    assert "No space left" in (rows.run.error or "")
    (made,) = (asset for asset in rows.assets if asset.kind == "candidate_output")
    assert (studio.root / made.rel_path).is_file()
    assert [c.candidate_index for c in rows.candidates["style_1_harbor"]] == [1]


async def test_a_scene_that_went_away_fails_its_job_by_name(studio: Studio) -> None:
    run = await studio.trigger()
    (studio.root / "harbor.png").unlink()
    await studio.work()
    rows = await studio.rows(run)
    assert [job.status for job in rows.jobs] == ["failed", "done"]
    assert (rows.run.error_code, rows.run.error_kind) == ("not_found", "validation")
    assert "harbor.png" in (rows.run.error or "")


async def test_a_dry_run_plans_logs_and_ingests_without_a_provider(studio: Studio) -> None:
    rows = await studio.run_to_end(mode="dry", confirm_spend=None)
    assert (rows.run.status, rows.run.model_name) == ("ok", "")
    assert studio.provider.calls == []
    assert [(job.status, job.selected_candidate_index) for job in rows.jobs] == [("planned", None)] * 2
    for candidates in rows.candidates.values():
        (only,) = candidates
        assert (only.candidate_index, only.status, only.output_path) == (1, "planned", None)
    assert (len(rows.reports), rows.costs, rows.assets) == (3, [], [])
    assert rows.run.stdout.splitlines()[3] == "Jobs: 2 (dry/planned)"
    assert (studio.root / (rows.run.run_log_path or "")).is_file()


async def test_a_sync_that_cannot_be_begun_is_a_line_of_stderr(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], storage_sync_s3=True)
    assert (rows.run.status, rows.run.storage_sync_s3) == ("ok", True)
    assert rows.run.stderr.startswith("S3 sync was not begun: S3 sync is disabled for this project")


async def test_the_end_of_a_run_asks_for_its_sync(studio: Studio) -> None:
    async with studio.db.transaction() as session:
        await session.execute(text("UPDATE project_storage SET s3_enabled = true, s3_bucket = 'studio'"))
    rows = await studio.run_to_end(["harbor.png"], storage_sync_s3=True)
    dry = await studio.run_to_end(["harbor.png"], storage_sync_s3=True, mode="dry", confirm_spend=None)
    assert (rows.run.status, rows.run.stderr, dry.run.stderr) == ("ok", "", "")

    async with studio.db.transaction() as session:
        (sync,) = await session.scalars(select(SyncJob))
    assert (sync.run_id, sync.status, sync.project_root) == (rows.run.id, "queued", str(studio.root))
    assert (sync.dry_run, sync.delete_extra, sync.allow_missing) == (False, False, False)


async def test_two_runs_of_the_same_scenes_keep_both_their_pictures(studio: Studio) -> None:
    first, second = await studio.trigger(), await studio.trigger()
    await studio.work()
    outputs = [
        candidate.output_path
        for run in (first, second)
        for candidates in (await studio.rows(run)).candidates.values()
        for candidate in candidates
    ]
    assert len(set(outputs)) == 8
    assert all((studio.root / str(path)).is_file() for path in outputs)


async def test_carrying_a_message_twice_does_the_work_once(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"])
    studio.queue.messages *= 3
    await studio.work()
    studio.queue.messages += [
        FinishRun(run_id=run.id),
        *await studio.job_messages(run),
    ]
    await studio.work()
    rows = await studio.rows(run)
    assert (len(studio.provider.calls), rows.run.status, rows.jobs[0].attempt) == (2, "ok", 1)
