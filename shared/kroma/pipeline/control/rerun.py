"""Reruns a run from its plan, with changes; candidates with the same inputs are reused."""

from pathlib import PurePosixPath
from typing import Any, Protocol

import msgspec

from kroma.config import Settings
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.pipeline.control.derived_run import (
    RERUN,
    Origin,
    Spending,
    get_origin,
    repeat,
    with_current_pictures,
)
from kroma.pipeline.control.trigger import find_made_run
from kroma.pipeline.execution.image_job import with_fixed_seed
from kroma.pipeline.planning.config_files import ConfigFiles
from kroma.pipeline.planning.errors import RunNotAgainError, as_preflight_errors
from kroma.pipeline.planning.job_keys import job_key, scene_name
from kroma.pipeline.planning.manifest import Manifest, load_manifest
from kroma.pipeline.planning.model_choice import resolve_model
from kroma.pipeline.planning.named_assets import is_asset_id
from kroma.pipeline.planning.plan import FULLER_PLAN_VERSION, PlannedJob, RunPlan
from kroma.pipeline.planning.planner import check_candidates, check_gate, check_inputs
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.pipeline.planning.prompt import Setting, compose_prompt
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.pipeline.planning.settings_layers import load_layers
from kroma.queue.base import TaskQueue
from kroma.runs.models import Run, Stage
from kroma.storage.base import ProjectStores


class Changes(Protocol):
    """What to change; None keeps the original value."""

    @property
    def candidates(self) -> int | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def size(self) -> str | None: ...
    @property
    def quality(self) -> str | None: ...
    @property
    def stage(self) -> str | None: ...
    @property
    def time(self) -> str | None: ...
    @property
    def weather(self) -> str | None: ...


class _RawRunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The trigger's body for the changed run."""

    mode: str | None
    confirm_spend: bool | None = True
    project_root: str | None = None
    input: str | None = None
    scene_refs: list[str] | None
    style_refs: list[str] | None = None
    stage: str | None
    time: str | None
    weather: str | None
    candidates: int | None
    storage_sync_s3: bool | None = None
    provider: str | None
    model: str | None
    size: str | None
    quality: str | None
    seed: int | None
    # The plan already has these texts and pictures.
    style_guide_id: str | None = None
    prompt_template_id: str | None = None
    reference_set_ids: list[str] | None = None
    character_ids: list[str] | None = None
    baseline_run_id: str | None = None
    postprocess: PostprocessSwitches | None = None


async def rerun_run(
    db: Database,
    queue: TaskQueue,
    stores: ProjectStores,
    settings: Settings,
    *,
    slug: str,
    run_id: str,
    changes: Changes,
    spending: Spending,
    is_confined: bool,
    job_id: str | None = None,
) -> Run:
    """Queue a changed run of the same plan; candidates with the same inputs are reused and cost nothing.

    With ``job_id`` only that job runs. If it post-processed a selected candidate, the job that generated
    the candidate runs instead.

    Raises:
        RunNotFoundError: The project or the run is unknown.
        RunNotAgainError: The run has not ended, was not planned by this Kroma, or has no such job.
        InvalidRunRequestError: A change breaks a rule of a trigger's body.
        PlanningPreflightError: A picture is missing, or the provider does not offer a requested value.
        InsufficientScopeError: Calls may cost money, and the caller's token may not spend any.
        SpendConfirmationRequiredError: Calls may cost money, and the caller did not confirm it.
        BudgetExceededError: The run may cost more than the project's budget allows.
        UnknownPriceError: The project has a budget, and the price is unknown.
    """
    if (made := await find_made_run(db, spending.idempotency_id)) is not None:
        return made
    origin = await get_origin(db, stores, slug=slug, run_id=run_id)
    while any(job.chosen is not None for job in origin.plan.jobs):
        origin, job_id = await _choose_origin(db, stores, slug, origin, job_id)
    if job_id is not None:
        origin = _of_one_job(origin, job_id)
    spec = RunSpec.checked(_raw_spec(origin.plan, changes))
    store = origin.location.open(stores)
    with as_preflight_errors():
        files = ConfigFiles(
            settings.data_dir, store, allow_any_root=settings.allow_any_root, is_confined=is_confined
        )
        plan = await _change_plan(settings, files, origin.plan, spec, changes)
    plan = await with_current_pictures(db, store, origin, plan)
    policy: dict[str, Any] = plan.settings_snapshot.get("policy", {})
    check_gate(policy.get("require_baseline", ()), plan.stage, plan.jobs)
    return await repeat(db, queue, stores, origin, plan, kind=RERUN, spending=spending)


async def _choose_origin(
    db: Database, stores: ProjectStores, slug: str, follow_up: Origin, job_id: str | None
) -> tuple[Origin, str]:
    """The run and the job that generated the candidate of a follow-up run."""
    key = row_id(job_id) if job_id is not None else None
    job = next((job for job in follow_up.run.jobs if job.id == key), None)
    if job is None or follow_up.run.origin_run_id is None:
        raise RunNotAgainError(
            "The run post-processed a selected candidate; select it again, or rerun the original run"
        )
    origin = await get_origin(db, stores, slug=slug, run_id=str(follow_up.run.origin_run_id))
    made_by = next((made for made in origin.run.jobs if made.job_key == job.job_key), None)
    if made_by is None:
        raise RunNotAgainError(f"The run that made the selected candidate has no job '{job.job_key}'")
    return origin, str(made_by.id)


def _of_one_job(origin: Origin, job_id: str) -> Origin:
    """The origin with only this job, which keeps its seed."""
    key = row_id(job_id)
    job = next((job for job in origin.run.jobs if job.id == key), None)
    if job is None:
        raise RunNotAgainError(f"The run has no job '{job_id}'")
    jobs = (with_fixed_seed(origin.plan, job.ordinal),)
    return origin._replace(plan=msgspec.structs.replace(origin.plan, jobs=jobs))


def _raw_spec(plan: RunPlan, changes: Changes) -> _RawRunSpec:
    stage = plan.stage if changes.stage is None else changes.stage.strip().lower()
    keeps_provider = changes.provider is None
    return _RawRunSpec(
        mode=plan.mode,
        scene_refs=[job.scene.ref for job in plan.jobs],
        stage=stage,
        # The new stage may not accept the old time and weather.
        time=changes.time or (plan.time_of_day if stage in {Stage.TIME, Stage.WEATHER} else None),
        weather=changes.weather or (plan.weather if stage == Stage.WEATHER else None),
        candidates=changes.candidates,
        provider=changes.provider or plan.provider,
        model=changes.model or ((plan.model or None) if keeps_provider else None),
        size=changes.size or (plan.size if keeps_provider else None),
        quality=changes.quality or (plan.quality if keeps_provider else None),
        seed=plan.seed if changes.seed is None else changes.seed,
    )


async def _change_plan(
    settings: Settings, files: ConfigFiles, plan: RunPlan, spec: RunSpec, changes: Changes
) -> RunPlan:
    choice = resolve_model(spec, settings)
    check_inputs(choice, len(plan.styles), len(plan.references))
    candidates = plan.candidates if spec.candidates is None else spec.candidates
    check_candidates(plan.mode, candidates, plan.max_candidates)
    snapshot: dict[str, Any] = {
        **plan.settings_snapshot,
        "generation": {"candidates": candidates, "max_candidates": plan.max_candidates},
        "provider": choice.provider,
        "model": choice.model,
        "size": choice.size,
        "quality": choice.quality,
        "seed": spec.seed,
    }
    return msgspec.structs.replace(
        plan,
        version=FULLER_PLAN_VERSION if spec.stage is Stage.CHARACTER else plan.version,
        stage=spec.stage,
        time_of_day=spec.time_of_day,
        weather=spec.weather,
        jobs=await _jobs(files, plan, spec, has_new_seed=changes.seed is not None),
        candidates=candidates,
        provider=choice.provider,
        model=choice.model,
        size=choice.size,
        quality=choice.quality,
        seed=plan.seed if spec.seed is None else spec.seed,
        takes_former=True,
        settings_snapshot=snapshot,
    )


async def _jobs(
    files: ConfigFiles, plan: RunPlan, spec: RunSpec, *, has_new_seed: bool
) -> tuple[PlannedJob, ...]:
    """The jobs; another stage, time or weather needs new prompts from the manifest."""
    jobs = plan.jobs
    if has_new_seed:
        jobs = tuple(msgspec.structs.replace(job, seed=None) for job in jobs)
    if (plan.stage, plan.time_of_day, plan.weather) == (spec.stage, spec.time_of_day, spec.weather):
        return jobs
    path = plan.settings_snapshot.get("manifest_path")
    if path == (await load_layers(files)).app.manifest_path:
        files = files.of_operator
    manifest = await load_manifest(files, path)
    setting = Setting(
        stage=spec.stage, time_of_day=spec.time_of_day, weather=spec.weather, project=plan.project_slug
    )
    return tuple(_otherwise(manifest, plan, setting, job, n) for n, job in enumerate(jobs, start=1))


def _otherwise(
    manifest: Manifest, plan: RunPlan, setting: Setting, job: PlannedJob, number: int
) -> PlannedJob:
    """The job in another stage, time or weather."""
    is_file = plan.baseline_run_id is None
    path = job.scene.key if is_asset_id(job.scene.ref) else job.scene.ref
    key = job_key(setting.stage, number, path if is_file else scene_name(job.job_key))
    name = PurePosixPath(path).stem if is_file else scene_name(job.job_key)
    setting = msgspec.structs.replace(setting, scene=name, scene_number=number)
    return msgspec.structs.replace(job, prompt=compose_prompt(manifest, setting, plan.words), job_key=key)
