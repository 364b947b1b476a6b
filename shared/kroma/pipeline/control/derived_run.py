"""What retry, rerun and select share: the original run, its reusable pictures, the price and the new run."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from kroma.auth.caller import Caller
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import new_run, notify_workers
from kroma.pipeline.execution.image_job import planned_job
from kroma.pipeline.execution.reuse import FormerCandidates, input_hash
from kroma.pipeline.planning.content_hashes import content_hashes, with_baselines
from kroma.pipeline.planning.errors import (
    RunNotAgainError,
    SpendConfirmationRequiredError,
    as_preflight_errors,
)
from kroma.pipeline.planning.picture_inspection import Located, inspect_pictures
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.price import PlanPrice, check_caller, price_plan
from kroma.pipeline.planning.project_inputs import standing_baselines
from kroma.pipeline.planning.project_location import ProjectLocation, get_location
from kroma.providers.base import Provider
from kroma.queue.base import TaskQueue
from kroma.runs.models import OPEN_RUN_STATUSES, Run, RunMode
from kroma.runs.queries import get_run
from kroma.spend.service import confirm_run_in
from kroma.storage.base import ObjectStore, ProjectStores

RETRY = "retry"
RERUN = "rerun"


class Origin(NamedTuple):
    """The run that another run derives from."""

    run: Run
    """With its jobs."""
    plan: RunPlan
    """With its settings snapshot."""
    location: ProjectLocation


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """The caller, and whether they confirmed the spend."""

    providers: Mapping[str, Provider]
    """By code, for prices."""
    is_confirmed: bool
    caller: Caller
    idempotency_id: UUID | None

    def price(self, plan: RunPlan, *, made: frozenset[tuple[int, int]] = frozenset()) -> PlanPrice:
        """The price of a plan that the caller may run.

        Raises:
            InsufficientScopeError: Calls may cost money, and the caller's token may not spend any.
            SpendConfirmationRequiredError: Calls may cost money, and the caller did not confirm it.
        """
        price = price_plan(self.providers, plan, made=made)
        check_caller(self.caller, price)
        if price.may_cost and not self.is_confirmed:
            raise SpendConfirmationRequiredError
        return price


async def get_origin(db: Database, stores: ProjectStores, *, slug: str, run_id: str) -> Origin:
    """The run with its plan.

    Raises:
        RunNotFoundError: The project or the run is unknown.
        RunNotAgainError: The run has not ended, or its plan cannot be read.
    """
    async with db.transaction() as session:
        found = await get_run(session, slug=slug, run_id=run_id)
        statement = select(Run).where(Run.id == found.id).options(selectinload(Run.jobs))
        run = (await session.scalars(statement, execution_options={"populate_existing": True})).one()
    if run.status in OPEN_RUN_STATUSES:
        raise RunNotAgainError(f"The run is {run.status}; wait until it has ended, or cancel it")
    location = await get_location(db, stores, slug)
    try:
        plan = msgspec.convert(run.plan_json, RunPlan)
    except msgspec.ValidationError as exc:
        raise RunNotAgainError("The run was not planned by this Kroma, so it cannot be repeated") from exc
    snapshot: dict[str, Any] = {
        key: value for key, value in run.settings_snapshot_json.items() if key != "timestamp"
    }
    return Origin(run, msgspec.structs.replace(plan, settings_snapshot=snapshot), location)


async def with_current_pictures(db: Database, store: ObjectStore, origin: Origin, plan: RunPlan) -> RunPlan:
    """The plan with the current state of its pictures and baselines, in the project's current store.

    Raises:
        PlanningPreflightError: A picture is missing or unreadable.
    """
    scenes = [Located("scene", job.scene.ref, job.scene.key) for job in plan.jobs]
    styles = [Located("style", style.ref, style.key) for style in plan.styles]
    references = [Located("reference", given.ref, given.key) for given in plan.references]
    with as_preflight_errors():
        await store.check_writable()
        pictures = await inspect_pictures(store, [*scenes, *styles, *references])
    jobs = [
        msgspec.structs.replace(job, scene=picture) for job, picture in zip(plan.jobs, pictures, strict=False)
    ]
    others = tuple(pictures[len(scenes) :])
    return msgspec.structs.replace(
        plan,
        jobs=await with_baselines(store, jobs, await standing_baselines(db, origin.location)),
        styles=others[: len(styles)],
        references=others[len(styles) :],
        project_root=store.location,
        real_root=origin.location.real_root,
    )


async def repeat(
    db: Database,
    queue: TaskQueue,
    stores: ProjectStores,
    origin: Origin,
    plan: RunPlan,
    *,
    kind: str,
    spending: Spending,
) -> Run:
    """Commit a run that reuses candidates with the same inputs, then notify the workers.

    Raises:
        PlanningPreflightError: A picture cannot be read.
        InsufficientScopeError: Calls may cost money, and the caller's token may not spend any.
        SpendConfirmationRequiredError: Calls may cost money, and the caller did not confirm it.
        RunNotAgainError: Another retry of the run is in progress.
        BudgetExceededError: The run may cost more than the project's budget allows.
        UnknownPriceError: The project has a budget, and the price is unknown.
    """
    made = await _find_made_before(db, stores, plan, project_id=origin.run.project_id)
    price = spending.price(plan, made=made)
    run = new_run(
        origin.run.project_id,
        plan,
        estimated_usd=price.total_usd,
        origin=(kind, origin.run.id),
        idempotency_id=spending.idempotency_id,
    )
    async with db.transaction() as session:
        # Locked: two concurrent retries would both pay for the failed jobs.
        await session.execute(select(Run.id).where(Run.id == origin.run.id).with_for_update(key_share=True))
        if kind == RETRY:
            under_way = await session.scalar(
                select(Run.id).where(
                    Run.origin_run_id == origin.run.id,
                    Run.origin_kind == RETRY,
                    Run.status.in_(OPEN_RUN_STATUSES),
                )
            )
            if under_way is not None:
                raise RunNotAgainError(f"The run is already being retried by run {under_way}")
        await confirm_run_in(session, run, actor=spending.caller.user_id)
    await notify_workers(queue, run)
    return run


async def _find_made_before(
    db: Database, stores: ProjectStores, plan: RunPlan, *, project_id: UUID
) -> frozenset[tuple[int, int]]:
    """The (job position, candidate index) of candidates that can be reused."""
    if plan.mode is not RunMode.RUN:
        return frozenset()
    store = stores.open(plan.project_root, real_root=plan.real_root)
    pictures = [*(job.scene for job in plan.jobs), *plan.styles, *plan.references]
    contents = await content_hashes(store, [picture.key for picture in pictures])
    styles = [contents[style.key] for style in plan.styles]
    references = [contents[reference.key] for reference in plan.references]
    positions: dict[str, tuple[int, int]] = {}
    for position, planned in enumerate(plan.jobs):
        # The ids do not affect the input hash.
        job = planned_job(plan, run_id=project_id, job_id=project_id, project_id=project_id, ordinal=position)
        for index in range(1, plan.candidates + 1):
            scene = contents[planned.scene.key]
            digest = input_hash(job, scene=scene, styles=styles, references=references, index=index)
            positions[digest] = position, index
    former = await FormerCandidates(db, project_id).find(positions)
    return frozenset([positions[one.input_hash] for one in former if await store.size(one.key) is not None])
