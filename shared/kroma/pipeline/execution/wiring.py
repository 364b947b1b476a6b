"""What the steps of a claimed job work with, put together from what its worker brings."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import bindparam, or_, select

from kroma.config import FaceModel
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.db.prepared import Prepared
from kroma.leases.renewer import LeaseRenewer
from kroma.ledger.admission import OPERATION, Claimed
from kroma.ledger.call_scheduler import CallScheduler
from kroma.ledger.calls import PaidCalls
from kroma.pipeline.execution.claim import JobClaim
from kroma.pipeline.execution.reuse import FormerCandidates
from kroma.pipeline.execution.step_recorder import TableRecorder
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.planning.project_location import open_planned
from kroma.postprocess.toolbox import Toolbox
from kroma.provider_accounts.access import AccessLoader, no_access
from kroma.providers import UnknownProviderError
from kroma.providers.base import Provider, ProviderAccess
from kroma.runs.models import Run, RunStatus
from kroma.spend.service import confirm_call
from kroma.storage.base import ProjectStores

_WANTED: Final = Prepared(
    select(Run.id).where(
        Run.id == bindparam("run_id"), or_(Run.status == RunStatus.QUEUED, Run.status == RunStatus.RUNNING)
    )
)


class WorkerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker brings to its jobs."""

    db: Database
    renewer: LeaseRenewer
    stores: ProjectStores
    providers: Mapping[str, Provider]
    """Opened, by code."""
    cpu: CpuPool
    scheduler: CallScheduler = msgspec.field(default_factory=CallScheduler)
    """Where its paid calls wait for each other."""
    load_access: AccessLoader = no_access
    """A project's way to a provider whose calls cost money."""
    face_model: FaceModel | None = None
    """What faces are compared by; None says so in every report."""
    toolbox: Toolbox | None = None
    """What post-processes; None is the free tools alone."""


async def open_step_tools(context: WorkerContext, claim: JobClaim, recorder: TableRecorder) -> StepTools:
    """What the steps of a job work with.

    Raises:
        UnknownProviderError: The worker has no such provider.
    """
    provider = context.providers.get(claim.plan.provider)
    if provider is None:
        raise UnknownProviderError(claim.plan.provider)

    async def is_canceled() -> bool:
        return not await context.db.fetch(_WANTED, {"run_id": claim.run_id})

    return StepTools(
        store=await open_planned(context.db, context.stores, claim.plan, project_id=claim.project_id),
        provider=provider,
        cpu=context.cpu,
        recorder=recorder,
        may_retry=not claim.is_last_attempt,
        is_canceled=is_canceled,
        calls=None if provider.capabilities.free else _paid_calls(context, claim, provider),
        toolbox=context.toolbox or Toolbox(context.cpu),
        paid=partial(_paid_calls, context, claim),
        find_access=partial(_find_access, context, claim),
        providers=context.providers,
        former=FormerCandidates(context.db, claim.project_id) if claim.plan.takes_former else None,
        face_model=context.face_model,
    )


async def _find_access(context: WorkerContext, claim: JobClaim, provider: Provider) -> ProviderAccess:
    return await context.load_access(provider, claim.project_id)


def _paid_calls(
    context: WorkerContext, claim: JobClaim, provider: Provider, operation: str = OPERATION
) -> PaidCalls:
    claimed = Claimed(
        project_id=claim.project_id,
        run_id=claim.run_id,
        job_id=claim.job_id,
        job_key=claim.plan.jobs[claim.ordinal].job_key,
        fence=claim.fence,
    )
    access = partial(context.load_access, provider, claim.project_id)
    confirm = partial(confirm_call, project_id=claim.project_id, run_id=claim.run_id)
    return PaidCalls(
        context.db,
        context.scheduler,
        provider,
        claimed,
        find_access=access,
        confirm=confirm,
        operation=operation,
    )
