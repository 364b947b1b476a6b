"""What the pictures of a run say of their making, inside and beside."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest

from kroma.auth.caller import OWNER
from kroma.config import Settings
from kroma.imaging.provenance import (
    PictureRecord,
    Sidecar,
    State,
    decoded_sidecar,
    find_record,
    state_of,
)
from kroma.pipeline.control.derived_run import Spending
from kroma.pipeline.control.rerun import rerun_run
from kroma.pipeline.planning.errors import RunNotAgainError
from kroma.providers.fake import FakeOutcome
from kroma_api.schemas.run_control import RerunRunRequest
from support.harness.worker_harness import Studio

pytestmark = pytest.mark.timeout(60)

RED = (255, 0, 0)


def told(path: Path) -> tuple[PictureRecord, Sidecar]:
    """What a picture says of itself, and the file beside it."""
    data = path.read_bytes()
    record = find_record(data, name=path.name)
    assert record is not None
    assert state_of(data, record) is State.UNCHANGED
    sidecar = decoded_sidecar(path.with_name(f"{path.name}.json").read_bytes(), name=path.name)
    assert sidecar.record == record
    assert sidecar.sha256 == hashlib.sha256(data).hexdigest()
    return record, sidecar


async def test_a_candidate_tells_run_job_prompt_maker_seed_and_parents(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], candidates=1, style_refs=["tower.png"], seed=7)
    (job,) = rows.jobs
    (candidate,) = rows.candidates[job.job_key]
    record, _ = told(studio.root / str(candidate.output_path))

    assert (record.project_id, record.run_id, record.job_id) == (studio.project.id, rows.run.id, job.id)
    assert (record.candidate_id, record.candidate_index) == (candidate.id, 1)
    assert (record.job_key, record.step, record.stage) == (job.job_key, "generate", "style")
    assert record.prompt == job.prompt_text
    assert (record.provider, record.model, record.seed) == ("fake", "fake-1", 7)
    by_role = {parent.role: parent for parent in record.parents}
    for role, name in (("scene", "harbor.png"), ("style", "tower.png")):
        assert by_role[role].path == name
        assert by_role[role].sha256 == hashlib.sha256((studio.root / name).read_bytes()).hexdigest()
    asset = next(asset for asset in rows.assets if asset.rel_path == candidate.output_path)
    assert asset.sha256 == hashlib.sha256((studio.root / asset.rel_path).read_bytes()).hexdigest()
    assert asset.size_bytes == (studio.root / asset.rel_path).stat().st_size


async def test_a_paid_candidate_tells_its_call_and_no_key(studio: Studio) -> None:
    studio.script(cost_usd=Decimal("0.04"))
    rows = await studio.run_to_end(["harbor.png"], candidates=1)
    (candidate,) = rows.candidates[rows.jobs[0].job_key]
    record, _ = told(studio.root / str(candidate.output_path))

    call_id = await studio.db_value("SELECT id FROM provider_calls")
    assert record.provider_call_id == call_id
    assert "api_key" not in json.dumps(candidate.meta_json) + record.prompt


async def test_what_lies_beside_a_rejected_candidate_moves_with_it(studio: Studio) -> None:
    settings = studio.root / ".kroma" / "pipeline.settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"manifest_path": str(studio.root / "manifest.json")}))
    guard = {"enforce_grayscale": True}
    (studio.root / "manifest.json").write_text(json.dumps({"output_guard": guard}))
    studio.settings = Settings.from_environment({"KROMA_PROVIDER": "fake"}, data_dir=studio.settings.data_dir)
    studio.script(FakeOutcome(candidate=1, rgb=RED))
    rows = await studio.run_to_end(["harbor.png"])
    bad = rows.candidates[rows.jobs[0].job_key][0]
    record, _ = told(studio.root / str(bad.output_path))

    assert str(bad.output_path).startswith("archive/bad/")
    assert record.candidate_index == 1
    assert not list((studio.root / "outputs").rglob("*__c1*"))


async def test_a_picture_alone_is_enough_to_run_its_job_again(studio: Studio) -> None:
    first = await studio.run_to_end(candidates=1, seed=7)
    picture = first.candidates["style_2_tower"][0]
    record, _ = told(studio.root / str(picture.output_path))
    (studio.root / str(picture.output_path)).unlink()
    again = await rerun_run(
        studio.db,
        studio.queue,
        studio.stores,
        studio.settings,
        is_confined=False,
        slug="comic",
        run_id=str(record.run_id),
        job_id=str(record.job_id),
        changes=RerunRunRequest(),
        spending=Spending(providers=studio.providers, is_confirmed=False, caller=OWNER, idempotency_id=None),
    )
    await studio.work()
    rows = await studio.rows(again)
    (job,) = rows.jobs
    (candidate,) = rows.candidates[job.job_key]
    made, _ = told(studio.root / str(candidate.output_path))

    assert (job.job_key, rows.run.origin_run_id) == ("style_2_tower", first.run.id)
    assert (made.seed, made.prompt, made.body_sha256) == (8, record.prompt, record.body_sha256)
    assert made.run_id == again.id
    assert "reused_from" not in candidate.meta_json


async def test_a_job_of_another_run_is_not_run_again(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1)

    with pytest.raises(RunNotAgainError, match="has no job"):
        await rerun_run(
            studio.db,
            studio.queue,
            studio.stores,
            studio.settings,
            is_confined=False,
            slug="comic",
            run_id=str(first.run.id),
            job_id=str(first.run.id),
            changes=RerunRunRequest(),
            spending=Spending(providers={}, is_confirmed=False, caller=OWNER, idempotency_id=None),
        )


async def test_a_picture_that_is_taken_over_keeps_the_record_of_who_made_it(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"], candidates=1, seed=7)
    again = await rerun_run(
        studio.db,
        studio.queue,
        studio.stores,
        studio.settings,
        is_confined=False,
        slug="comic",
        run_id=str(first.run.id),
        changes=RerunRunRequest(),
        spending=Spending(providers=studio.providers, is_confirmed=False, caller=OWNER, idempotency_id=None),
    )
    await studio.work()
    rows = await studio.rows(again)
    (candidate,) = rows.candidates[rows.jobs[0].job_key]
    record, _ = told(studio.root / str(candidate.output_path))

    assert candidate.meta_json["reused_from"]
    assert record.run_id == first.run.id
