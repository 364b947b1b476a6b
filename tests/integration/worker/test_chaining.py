"""From one stage to the next: choosing candidates, locking baselines, and going on from them."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import func, select

from kroma.audit.models import AuditEvent
from kroma.auth.caller import OWNER
from kroma.baselines.models import Baseline
from kroma.pipeline.control.baseline import LockedBaselines, lock_baseline
from kroma.pipeline.control.derived_run import Spending
from kroma.pipeline.control.rerun import rerun_run
from kroma.pipeline.control.select import Selection, select_candidate
from kroma.pipeline.planning.errors import (
    CandidateIndexError,
    InvalidRunRequestError,
    NothingToLockError,
    NotSelectableError,
    PlanningPreflightError,
    RunNotAgainError,
    SpendConfirmationRequiredError,
)
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.postprocess.specs import CutoutSpec, PlannedTools
from kroma.project_texts.models import Character, PromptTemplate, ReferenceSet, ReferenceSetItem, StyleGuide
from kroma.providers.fake import FakeOutcome
from kroma.quality.models import QualityReport
from kroma.runs.errors import JobNotFoundError, RunNotFoundError
from kroma.runs.models import Run, RunEvent
from kroma_api.schemas.run_control import RerunRunRequest
from support.builders.factories import png, scene_png
from support.harness.worker_harness import RowMapper, Studio

pytestmark = pytest.mark.timeout(120)

GRADED = PostprocessSwitches(color=True)


def spending(studio: Studio, *, is_confirmed: bool = False) -> Spending:
    return Spending(providers=studio.providers, is_confirmed=is_confirmed, caller=OWNER, idempotency_id=None)


async def choose(studio: Studio, rows: RowMapper, index: int, *, job: int = 0, **options: Any) -> Selection:
    return await select_candidate(
        studio.db,
        studio.queue,
        slug=studio.project.slug,
        run_id=str(rows.run.id),
        job_id=str(rows.jobs[job].id),
        candidate_index=index,
        note="the hands are right",
        spending=spending(studio, **options),
    )


async def lock(studio: Studio, run: Run, job_keys: list[str] | None = None) -> LockedBaselines:
    return await lock_baseline(
        studio.db,
        studio.stores,
        slug=studio.project.slug,
        run_id=str(run.id),
        job_keys=job_keys,
        note="approved",
        actor=None,
    )


async def again(studio: Studio, run: Run, *, job_id: str | None = None, **changes: Any) -> Run:
    return await rerun_run(
        studio.db,
        studio.queue,
        studio.stores,
        studio.settings,
        is_confined=False,
        slug=studio.project.slug,
        run_id=str(run.id),
        job_id=job_id,
        changes=RerunRunRequest(**changes),
        spending=spending(studio),
    )


async def stored(studio: Studio, model: Any, *conditions: Any) -> list[Any]:
    async with studio.db.transaction() as session:
        return list(await session.scalars(select(model).where(*conditions)))


async def notices(studio: Studio, run: Run) -> list[str]:
    events = await stored(studio, RunEvent, RunEvent.run_id == run.id, RunEvent.kind == "notice")
    return [event.data_json["notice"] for event in sorted(events, key=lambda event: event.seq)]


def plan_of(run: Run) -> RunPlan:
    return msgspec.convert(run.plan_json, RunPlan)


async def refusal(studio: Studio, **fields: Any) -> str:
    with pytest.raises(PlanningPreflightError) as caught:
        await studio.trigger(**fields)
    return caught.value.message


async def test_a_choice_is_a_review_and_the_jobs_selection(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"])
    assert rows.jobs[0].selected_candidate_index == 1

    choice = await choose(studio, rows, 2)

    assert choice.follow_up is None
    after = await studio.rows(rows.run)
    chosen = after.candidates["style_1_harbor"][1]
    assert after.jobs[0].selected_candidate_index == 2
    assert (after.jobs[0].final_output, after.jobs[0].final_asset_id) == (
        chosen.output_path,
        chosen.output_asset_id,
    )
    (review,) = [report for report in after.reports if report.report_type == "human_review"]
    assert (review.id, review.grade, review.candidate_id) == (choice.review_id, "approved", chosen.id)
    assert review.summary_json["note"] == "the hands are right"
    assert (review.summary_json["before"], review.summary_json["candidate_index"]) == (1, 2)
    assert await notices(studio, rows.run) == ["candidate_selected"]
    (event,) = await stored(studio, AuditEvent, AuditEvent.event_code == "candidate.select")
    assert event.id == choice.audit_id


async def test_what_cannot_be_chosen_is_refused_by_name(studio: Studio) -> None:
    waiting = await studio.trigger(["harbor.png"])
    queued = await studio.rows(waiting)
    with pytest.raises(NotSelectableError, match="The run is queued"):
        await choose(studio, queued, 1)
    await studio.work()
    rows = await studio.rows(waiting)
    with pytest.raises(CandidateIndexError, match="of a candidate of job 'style_1_harbor': 1, 2"):
        await choose(studio, rows, 3)
    rows.jobs[0].id = UUID(int=1)
    with pytest.raises(JobNotFoundError):
        await choose(studio, rows, 1)
    rows.run.id = UUID(int=1)
    with pytest.raises(RunNotFoundError):
        await choose(studio, rows, 1)


async def test_a_choice_without_its_files_is_post_processed_in_a_run_of_its_own(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png", "tower.png"], postprocess=GRADED)
    made = len(studio.provider.calls)

    choice = await choose(studio, rows, 2, job=1)
    assert choice.follow_up is not None
    await studio.work()

    assert len(studio.provider.calls) == made, "nothing is generated again"
    done = await studio.rows(choice.follow_up)
    assert (done.run.status, done.run.error) == ("ok", None)
    assert (done.run.origin_kind, done.run.origin_run_id) == ("select", rows.run.id)
    (job,) = done.jobs
    assert (job.job_key, job.status, job.selected_candidate_index) == ("style_2_tower", "done", 2)
    (taken,) = done.candidates["style_2_tower"]
    original = rows.candidates["style_2_tower"][1]
    assert original.output_path is not None
    assert taken.output_path is not None
    assert (studio.root / taken.output_path).read_bytes() == (studio.root / original.output_path).read_bytes()
    assert taken.meta_json["reused_from"] == str(original.id)
    assert done.costs == []
    # The job that it was chosen in shows what was made of it.
    after = await studio.rows(rows.run)
    shown = after.candidates["style_2_tower"][1]
    assert shown.final_output_path == job.final_output == after.jobs[1].final_output
    assert job.final_output not in {taken.output_path, None}
    assert after.jobs[1].final_asset_id == job.final_asset_id
    assert await notices(studio, rows.run) == ["candidate_selected", "candidate_post_processed"]
    assert (await choose(studio, after, 2, job=1)).follow_up is None, "now it has its files"


async def test_many_choices_of_one_candidate_post_process_it_once(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], postprocess=GRADED)

    choices = await asyncio.gather(*(choose(studio, rows, 2) for _ in range(12)))

    assert len({choice.follow_up.id for choice in choices if choice.follow_up}) == 1
    assert len(await stored(studio, Run, Run.origin_kind == "select")) == 1
    assert len(await stored(studio, QualityReport, QualityReport.report_type == "human_review")) == 12


async def test_of_many_choices_at_once_the_last_one_counts_whole(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], candidates=4)

    await asyncio.gather(*(choose(studio, rows, index) for index in (1, 2, 3, 4) * 3))

    (job,) = (after := await studio.rows(rows.run)).jobs
    paths = {one.candidate_index: one.output_path for one in after.candidates[job.job_key]}
    assert job.selected_candidate_index is not None
    assert job.final_output == paths[job.selected_candidate_index]


async def test_a_person_may_overrule_the_checks(studio: Studio) -> None:
    (studio.root / "manifest.json").write_text('{"output_guard": {"enforce_grayscale": true}}')
    settings = studio.root / ".kroma" / "pipeline.settings.json"
    settings.parent.mkdir()
    settings.write_text('{"manifest_path": "comic/manifest.json"}')
    studio.script(FakeOutcome(rgb=(200, 40, 40)))
    rows = await studio.run_to_end(["harbor.png"], postprocess=GRADED)
    assert rows.jobs[0].status == "failed_output_guard"

    choice = await choose(studio, rows, 1)
    assert choice.follow_up is not None
    await studio.work()

    done = await studio.rows(choice.follow_up)
    assert [(job.status, job.error) for job in done.jobs] == [("done", None)]
    assert len((await lock(studio, rows.run)).baselines) == 1


async def test_paid_tools_want_the_spending_confirmed(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], postprocess=GRADED)
    async with studio.db.transaction() as session:
        run = await session.get_one(Run, rows.run.id)
        tools = PlannedTools(cutout=CutoutSpec(backends=("photoroom",)))
        run.plan_json = msgspec.to_builtins(msgspec.structs.replace(plan_of(run), tools=tools))

    with pytest.raises(SpendConfirmationRequiredError):
        await choose(studio, rows, 2)
    assert (await studio.rows(rows.run)).jobs[0].selected_candidate_index == 1

    choice = await choose(studio, rows, 2, is_confirmed=True)
    assert choice.follow_up is not None
    assert choice.follow_up.estimated_usd is None


async def test_a_follow_up_is_not_run_again_by_itself(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], postprocess=GRADED)
    choice = await choose(studio, rows, 2)
    assert choice.follow_up is not None
    await studio.work()

    with pytest.raises(RunNotAgainError, match="select it again"):
        await again(studio, choice.follow_up)


async def test_a_picture_of_a_follow_up_leads_back_to_the_job_that_made_it(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png", "tower.png"], postprocess=GRADED)
    choice = await choose(studio, rows, 2)
    assert choice.follow_up is not None
    await studio.work()
    (job,) = (await studio.rows(choice.follow_up)).jobs

    made = await studio.rows(await again(studio, choice.follow_up, job_id=str(job.id)))

    assert (made.run.origin_run_id, [one.job_key for one in made.jobs]) == (rows.run.id, [job.job_key])


async def test_a_lock_belongs_to_the_content_of_a_scene(studio: Studio) -> None:
    rows = await studio.run_to_end()

    locked = await lock(studio, rows.run)

    assert [row.job_key for row in locked.baselines] == ["style_1_harbor", "style_2_tower"]
    assert locked.skipped == []
    assert await notices(studio, rows.run) == ["baseline_locked"]
    (studio.root / "copy.png").write_bytes((studio.root / "harbor.png").read_bytes())
    (studio.root / "other.png").write_bytes(scene_png(seed=9))
    run = await studio.trigger(["copy.png", "other.png", locked.baselines[1].path])
    copy, other, itself = plan_of(run).jobs
    assert copy.baseline is not None
    assert copy.baseline.key == locked.baselines[0].path
    assert other.baseline is None
    assert itself.baseline == itself.scene


async def test_a_later_lock_takes_the_place_and_the_history_stays(studio: Studio) -> None:
    first = await studio.run_to_end(["harbor.png"])
    second = await studio.run_to_end(["harbor.png"], seed=7)
    await lock(studio, first.run)
    unchanged = await lock(studio, first.run)

    await lock(studio, second.run)
    await choose(studio, second, 2)
    await lock(studio, second.run)

    assert unchanged.audit_id is None
    rows = sorted(await stored(studio, Baseline), key=lambda row: row.locked_at)
    assert [(row.run_id, row.candidate_index) for row in rows] == [
        (first.run.id, 1),
        (second.run.id, 1),
        (second.run.id, 2),
    ]
    assert [row.replaced_at is None for row in rows] == [False, False, True]
    assert len(await stored(studio, AuditEvent, AuditEvent.event_code == "baseline.lock")) == 3


async def test_of_many_locks_at_once_each_scene_has_one_current(studio: Studio) -> None:
    runs = [(await studio.run_to_end(seed=seed)).run for seed in (1, 2)]

    await asyncio.gather(*(lock(studio, run) for run in runs * 8))

    async with studio.db.transaction() as session:
        counts = await session.execute(
            select(Baseline.scene_sha256, func.count())
            .where(Baseline.replaced_at.is_(None))
            .group_by(Baseline.scene_sha256)
        )
        assert [count for _, count in counts] == [1, 1]


async def test_what_cannot_be_locked_is_refused_by_name(studio: Studio) -> None:
    dry = await studio.run_to_end(["harbor.png"], mode="dry", confirm_spend=None)
    with pytest.raises(NothingToLockError, match="Job 'style_1_harbor' has no winner"):
        await lock(studio, dry.run)
    rows = await studio.run_to_end(["harbor.png", "harbor.png"])
    with pytest.raises(InvalidRunRequestError, match="has no job 'style_9_x'; its jobs are: style_1_harbor"):
        await lock(studio, rows.run, ["style_9_x"])
    with pytest.raises(InvalidRunRequestError, match="'job_keys' must not be empty"):
        await lock(studio, rows.run, [])
    locked = await lock(studio, rows.run)
    assert [(one.job_key, one.reason) for one in locked.skipped] == [
        ("style_2_harbor", "Job 'style_2_harbor' has the same scene as 'style_1_harbor', which is locked")
    ]
    (studio.root / locked.baselines[0].path).unlink()
    with pytest.raises(NothingToLockError, match="is missing or changed"):
        await lock(studio, rows.run, ["style_1_harbor"])


async def test_a_stage_goes_on_from_the_pictures_of_a_run(studio: Studio) -> None:
    style = await studio.run_to_end()
    await lock(studio, style.run, ["style_1_harbor"])
    await choose(studio, style, 2, job=0)
    await choose(studio, style, 2, job=1)

    time = await studio.run_to_end(
        scene_refs=None, baseline_run_id=str(style.run.id), stage="time", time="night"
    )

    assert time.run.status == "ok"
    plan = plan_of(time.run)
    assert [job.job_key for job in plan.jobs] == ["time_1_harbor", "time_2_tower"]
    # What was locked goes before what was chosen later; the other was never locked.
    assert [job.scene.key[-5:] for job in plan.jobs] == ["1.png", "2.png"]
    assert [job.baseline is not None for job in plan.jobs] == [True, False]
    assert plan.baseline_run_id == style.run.id
    assert time.run.settings_snapshot_json["baseline_run_id"] == str(style.run.id)

    weather = await studio.run_to_end(
        scene_refs=["time_2_tower"],
        baseline_run_id=str(time.run.id),
        stage="weather",
        time="night",
        weather="rain",
    )
    assert [job.job_key for job in plan_of(weather.run).jobs] == ["weather_1_tower"]
    rerun = plan_of(await again(studio, weather.run, stage="time", time="day"))
    assert [job.job_key for job in rerun.jobs] == ["time_1_tower"]
    assert rerun.baseline_run_id == time.run.id


async def test_a_source_that_has_no_pictures_is_refused_by_name(studio: Studio) -> None:
    style = await studio.run_to_end()
    run_id = str(style.run.id)
    dry = await studio.run_to_end(mode="dry", confirm_spend=None)
    waiting = await studio.trigger()

    for fields, problem in (
        ({"baseline_run_id": "x"}, "Field 'baseline_run_id': the project has no run with the id 'x'"),
        ({"baseline_run_id": str(dry.run.id)}, "has neither a locked picture nor a winner"),
        ({"baseline_run_id": str(waiting.id)}, "is queued; wait until it has ended"),
        (
            {"baseline_run_id": run_id, "scene_refs": ["harbor.png"]},
            "has no job 'harbor.png'; with baseline_run_id, name its job keys: style_1_harbor, style_2_tower",
        ),
    ):
        assert problem in await refusal(studio, **{"scene_refs": None, **fields}), problem


async def test_a_gate_keeps_stages_until_the_scene_is_locked(studio: Studio) -> None:
    (studio.root / "manifest.json").write_text('{"policy": {"require_baseline": ["time"]}}')
    settings = studio.root / ".kroma" / "pipeline.settings.json"
    settings.parent.mkdir()
    settings.write_text('{"manifest_path": "comic/manifest.json"}')
    style = await studio.run_to_end()
    source = {"scene_refs": None, "baseline_run_id": str(style.run.id)}

    assert "'harbor.png' has no locked baseline" in await refusal(studio, stage="time")
    assert "has no locked baseline" in await refusal(studio, stage="time", **source)
    with pytest.raises(PlanningPreflightError, match="has no locked baseline"):
        await again(studio, style.run, stage="time")
    await lock(studio, style.run)

    assert await studio.trigger(stage="time")
    assert await studio.trigger(stage="time", **source)
    assert await again(studio, style.run, stage="time")
    assert await studio.trigger(stage="weather")


class Library:
    """Texts and references of a project."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    async def add(self, model: Any, **fields: Any) -> str:
        row = model(project_id=self.studio.project.id, **fields)
        async with self.studio.db.transaction() as session:
            session.add(row)
        return str(row.id)

    async def reference_set(self, name: str, *items: dict[str, Any]) -> str:
        set_id = await self.add(ReferenceSet, name=name)
        for number, item in enumerate(items):
            await self.add(ReferenceSetItem, reference_set_id=UUID(set_id), sort_order=number, **item)
        return set_id


async def test_the_character_stage_uses_the_projects_own_words_and_pictures(studio: Studio) -> None:
    library = Library(studio)
    for name in ("face.png", "hand.png"):
        (studio.root / name).write_bytes(png(32, 32))
    mara = await library.add(Character, name="Mara", prompt_text="a gray braid")
    await library.add(Character, name="Tomo", description="a tall boy")
    guide = await library.add(StyleGuide, name="Noir", instructions="Heavy outlines")
    sheet = await library.reference_set(
        "Mara sheet",
        {"label": "Hand", "content_uri": "hand.png"},
        {"label": "Face", "content_uri": "face.png", "content_text": "scar", "metadata_json": {"weight": 2}},
    )
    template = await library.add(PromptTemplate, name="Page", template_text="{characters} in {scene}")

    rows = await studio.run_to_end(
        ["harbor.png"], stage="character", style_guide_id=guide, reference_set_ids=[sheet]
    )

    assert rows.run.status == "ok"
    assert (rows.run.stage, rows.jobs[0].job_key) == ("character", "character_1_harbor")
    prompt = rows.jobs[0].prompt_text
    assert "Heavy outlines. Mara: a gray braid. Tomo: a tall boy. Face: scar." in prompt
    (call, _) = studio.provider.calls
    assert call.references == ("face.png", "hand.png")
    inputs = rows.jobs[0].meta_json["inputs"]
    assert [(given["role"], given["ref"]) for given in inputs[1:]] == [
        ("reference", "face.png"),
        ("reference", "hand.png"),
    ]
    log = msgspec.json.decode((studio.root / f"runs/run_{rows.run.id}.json").read_bytes())
    assert [character["name"] for character in log["words"]["characters"]] == ["Mara", "Tomo"]

    templated = await studio.run_to_end(
        ["harbor.png"], stage="time", character_ids=[mara], prompt_template_id=template
    )
    assert templated.jobs[0].prompt_text.startswith("Mara in harbor Mara: a gray braid.")
    used = plan_of(templated.run).words
    assert used is not None
    assert used.template is not None
    assert (str(used.template.id), used.template.name) == (template, "Page")
    assert used.template.updated_at
    other_time = plan_of(await again(studio, templated.run, time="night"))
    assert other_time.words == used
    assert other_time.jobs[0].prompt == templated.jobs[0].prompt_text


async def test_what_a_trigger_names_and_the_project_lacks_is_refused_by_name(studio: Studio) -> None:
    library = Library(studio)
    mara = await library.add(Character, name="Mara")
    (studio.root / "face.png").write_bytes(b"no picture")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"style_guide_id": "x"}, "Field 'style_guide_id': the project has no style guide with the id 'x'"),
        ({"style_guide_id": mara}, "Field 'style_guide_id': the project has no style guide"),
        ({"prompt_template_id": mara}, "Field 'prompt_template_id': the project has no prompt template"),
        ({"reference_set_ids": [mara]}, "Field 'reference_set_ids': the project has no reference set"),
        ({"character_ids": [mara, str(UUID(int=7))]}, "Field 'character_ids': the project has no character"),
        ({"stage": "character", "character_ids": []}, "Stage 'character' has no character to draw"),
    ]
    for uri in ("https://example.com/a.png", "file:///etc/passwd", "//host/a.png", "s3://b/a", "../a.png"):
        item = {"label": "Face", "content_uri": uri}
        cases.append(
            (
                {"reference_set_ids": [await library.reference_set(f"Sheet {uri}", item)]},
                f"The content_uri '{uri}' of item 'Face' of reference set 'Sheet {uri}' is not a path inside",
            )
        )
    face = "Item 'Face' of reference set"
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("gone", {"content_uri": "gone.png"}, f"{face} 'gone' ('gone.png') was not found"),
        ("bad", {"content_uri": "face.png"}, f"{face} 'bad' ('face.png')"),
        (
            "heavy",
            {"content_text": "x", "metadata_json": {"weight": "2"}},
            "The weight in metadata_json of item 'Face' of reference set 'heavy' must be a number",
        ),
    ]
    for name, item, problem in wrong:
        set_id = await library.reference_set(name, {"label": "Face", **item})
        cases.append(({"reference_set_ids": [set_id]}, problem))
    for fields, problem in cases:
        assert problem in await refusal(studio, **fields), problem
