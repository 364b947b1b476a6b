"""The trigger: plan, insert, commit, notify workers."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from kroma.auth.caller import OWNER, Caller
from kroma.auth.scopes import Scope
from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.logs import current_request_id
from kroma.pipeline.control.notify import notify
from kroma.pipeline.planning.errors import PlanChangedError
from kroma.pipeline.planning.named_assets import hold_assets
from kroma.pipeline.planning.plan import RunPlan
from kroma.pipeline.planning.planner import plan_run
from kroma.pipeline.planning.price import check_caller, price_plan
from kroma.pipeline.planning.project_inputs import load_project_inputs
from kroma.pipeline.planning.project_location import get_location
from kroma.pipeline.planning.quote import open_quote, plan_hash
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.pipeline.planning.tool_check import with_checked_tools
from kroma.providers.base import Provider
from kroma.queue.base import TaskQueue
from kroma.queue.messages import ExecuteJob, FinishRun
from kroma.runs.models import JobStatus, Run, RunJob, RunMode, RunStatus
from kroma.spend.service import confirm_run, confirm_run_in
from kroma.storage.base import ProjectStores
from kroma.storage.keys import run_log_key


async def trigger_run(
    db: Database,
    queue: TaskQueue,
    stores: ProjectStores,
    settings: Settings,
    *,
    slug: str,
    spec: RunSpec,
    providers: Mapping[str, Provider],
    cpu: CpuPool,
    quote_token: str | None = None,
    caller: Caller = OWNER,
    idempotency_id: UUID | None = None,
) -> Run:
    """Plan a run, check its price, commit it, then notify the workers.

    Without a ``quote_token`` any plan is accepted; ``idempotency_id`` is the record of the request's
    ``Idempotency-Key``.

    Returns:
        The run with its jobs, in plan order.

    Raises:
        ProjectNotFoundError: No project has this slug.
        InvalidProjectSlugError: The slug has characters that a slug must not have.
        InvalidQuoteTokenError: The token is forged, expired or from another project.
        PlanningPreflightError: The run cannot be planned; nothing was stored.
        InsufficientScopeError: The caller's token lacks the scope to spend money or to copy to the bucket.
        PlanChangedError: The plan differs from the quote.
        BudgetExceededError: The run may cost more than the project's budget allows.
        UnknownPriceError: The project has a budget, and the price is unknown.
    """
    if (made := await find_made_run(db, idempotency_id)) is not None:
        await notify_workers(queue, made)
        return made
    if spec.storage_sync_s3:
        caller.require(Scope.STORAGE)
    location = await get_location(db, stores, slug)
    quoted = None if quote_token is None else await open_quote(settings, location.id, quote_token)
    inputs = await load_project_inputs(db, location, spec)
    plan = await plan_run(
        stores,
        settings,
        project_slug=location.slug,
        location=location.location(stores),
        real_root=location.real_root,
        is_confined=caller.is_confined,
        spec=spec,
        cpu=cpu,
        inputs=inputs,
    )
    plan = await with_checked_tools(db, settings, location.id, plan)
    price = price_plan(providers, plan)
    check_caller(caller, price)
    if quoted is not None and quoted != await plan_hash(stores, plan, price, spec=spec):
        raise PlanChangedError
    run = new_run(location.id, plan, estimated_usd=price.total_usd, idempotency_id=idempotency_id)
    if inputs.assets:
        async with db.transaction() as session:
            await hold_assets(session, location.id, inputs.assets)
            await confirm_run_in(session, run, actor=caller.user_id)
    else:
        await confirm_run(db, run, actor=caller.user_id)
    # Only after the commit: a worker must never receive an id it cannot load.
    await notify_workers(queue, run)
    return run


async def find_made_run(db: Database, idempotency_id: UUID | None) -> Run | None:
    """The run, with its jobs, that a request with this idempotency record made before its process died."""
    if idempotency_id is None:
        return None
    async with db.transaction() as session:
        return await session.scalar(
            select(Run).where(Run.idempotency_id == idempotency_id).options(selectinload(Run.jobs))
        )


def new_run(
    project_id: UUID,
    plan: RunPlan,
    *,
    estimated_usd: Decimal | None,
    origin: tuple[str, UUID] | None = None,
    idempotency_id: UUID | None = None,
) -> Run:
    """A queued run of a plan, with its jobs, in no session; ``origin`` is a kind and a run's id."""
    origin_kind, origin_run_id = origin or (None, None)
    run_id, now = uuid4(), utc_now()
    stored_plan = msgspec.structs.replace(plan, settings_snapshot={}, request_id=current_request_id())
    return Run(
        id=run_id,
        project_id=project_id,
        run_mode=plan.mode,
        status=RunStatus.QUEUED,
        stage=plan.stage,
        time_of_day=plan.time_of_day,
        weather=plan.weather,
        model_name=plan.model,
        provider_code=plan.provider,
        image_size=plan.size,
        image_quality=plan.quality,
        candidates=plan.candidates,
        plan_json=msgspec.to_builtins(stored_plan),
        settings_snapshot_json={"timestamp": now.isoformat(), **plan.settings_snapshot},
        storage_sync_s3=plan.storage_sync_s3,
        run_log_path=run_log_key(run_id),
        fence=0,
        attempt=0,
        revision=1,
        estimated_usd=estimated_usd,
        origin_run_id=origin_run_id,
        origin_kind=origin_kind,
        idempotency_id=idempotency_id,
        stdout="",
        stderr="",
        created_at=now,
        jobs=_new_jobs(run_id, plan, created_at=now),
    )


def _new_jobs(run_id: UUID, plan: RunPlan, *, created_at: datetime) -> list[RunJob]:
    status = JobStatus.QUEUED if plan.mode is RunMode.RUN else JobStatus.PLANNED
    return [
        RunJob(
            id=uuid4(),
            run_id=run_id,
            ordinal=ordinal,
            job_key=job.job_key,
            status=status,
            prompt_text=job.prompt,
            meta_json={},
            created_at=created_at,
        )
        for ordinal, job in enumerate(plan.jobs)
    ]


async def notify_workers(queue: TaskQueue, run: Run) -> None:
    """Notify workers of a new run's jobs; a dry run has only to be finished."""
    if run.run_mode == RunMode.RUN:
        await notify(queue, [ExecuteJob(job_id=job.id) for job in run.jobs])
    else:
        await notify(queue, [FinishRun(run_id=run.id)])
