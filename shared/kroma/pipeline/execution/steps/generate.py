"""Ask the provider for each candidate, keep what it makes."""

import asyncio
from time import perf_counter
from typing import Any
from uuid import uuid4

import msgspec

from kroma.db.base import utc_now
from kroma.errors import ProviderError
from kroma.leases.claim import ClaimLostError
from kroma.ledger.calls import PaidCalls
from kroma.ledger.errors import CallLaterError, ClaimGoneError
from kroma.metrics import CallWatch
from kroma.pipeline.execution.answer_store import CandidateAnswerStore, judge
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.reuse import input_hash
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps.errors import AllCandidatesFailedError
from kroma.pipeline.execution.steps.inputs import JobInputs, read_inputs
from kroma.pipeline.execution.steps.reused_candidates import take
from kroma.pipeline.execution.steps.selected_candidate import take_selected
from kroma.providers.base import AnswerUnusableError, EditRequest
from kroma.runs.errors import RunCanceledError
from kroma.runs.models import CandidateStatus


async def generate(job: ImageJob, tools: StepTools) -> ImageJob:
    """Make every candidate that is not recorded yet, in parallel within the provider's own limit.

    A candidate whose call fails for good is kept as failed, with the reason; the others go on.

    Raises:
        ProviderError: A call failed in passing and a later attempt may make it, or every call failed.
        StoreFullError: A picture could not be kept.
        RunCanceledError: The run was canceled before the next call.
    """
    inputs = await read_inputs(
        tools.store, job.planned.scene, job.styles, job.references, project_id=job.project_id
    )
    job = msgspec.structs.replace(job, inputs=inputs.logs)
    if job.planned.chosen is not None:
        chosen = await take_selected(job, job.planned.chosen, tools)
        return msgspec.structs.replace(job, candidates=(chosen,))
    made = await asyncio.gather(
        *(_candidate(job, inputs, index, tools) for index in range(1, job.candidate_count + 1)),
        return_exceptions=True,
    )
    # Only after all have ended: what the others made is recorded and not asked for again.
    failures = [outcome for outcome in made if isinstance(outcome, BaseException)]
    if failures:
        # What waits for its turn waits for others too: a failure that says more goes first.
        raise min(failures, key=lambda failure: isinstance(failure, CallLaterError))
    candidates = tuple(outcome for outcome in made if isinstance(outcome, Candidate))
    if all(candidate.status is CandidateStatus.FAILED for candidate in candidates):
        raise AllCandidatesFailedError(tried=len(candidates), reason=candidates[0].error or "")
    return msgspec.structs.replace(job, candidates=candidates)


async def _candidate(job: ImageJob, inputs: JobInputs, index: int, tools: StepTools) -> Candidate:
    name = f"generate/{index}"
    if (recorded := await tools.recorder.find(name, Candidate)) is not None:
        return recorded
    started_at = utc_now()
    clock = perf_counter()
    digest = _input_hash(job, inputs, index)
    former = None if tools.former is None else await take(job, index, digest, tools.former, tools)
    if former is not None:
        await tools.recorder.record(
            name, former, started_at=started_at, candidates=(former,), input_hash=digest
        )
        return former
    request = _request(job, inputs, index)
    base = Candidate(
        id=uuid4(), index=index, status=CandidateStatus.FAILED, seed=job.seed, provider=tools.provider.code
    )
    try:
        candidate = await (
            _make(job, base, request, tools)
            if tools.calls is None
            else _buy(job, base, request, tools, tools.calls)
        )
    except ProviderError as exc:
        if isinstance(exc, CallLaterError) or (exc.retryable and tools.may_retry):
            raise
        candidate = msgspec.structs.replace(
            base, error=exc.message, reason=exc.message, error_code=exc.code, **_charged(exc)
        )
    duration_ms = round((perf_counter() - clock) * 1000, 3)
    candidate = msgspec.structs.replace(candidate, duration_ms=duration_ms)
    await tools.recorder.record(
        name,
        candidate,
        started_at=started_at,
        candidates=(candidate,),
        input_hash=digest,
        hold=job.candidate_count == 1,
    )
    return candidate


def _input_hash(job: ImageJob, inputs: JobInputs, index: int) -> str:
    (scene,) = inputs.hashes("scene")
    styles, references = inputs.hashes("style"), inputs.hashes("reference")
    return input_hash(job, scene=scene, styles=styles, references=references, index=index)


def _request(job: ImageJob, inputs: JobInputs, index: int) -> EditRequest:
    (scene,) = inputs.of_role("scene")
    return EditRequest(
        prompt=job.planned.prompt,
        scene=scene,
        styles=inputs.of_role("style"),
        references=inputs.of_role("reference"),
        stage=job.stage,
        time_of_day=job.time_of_day,
        weather=job.weather,
        candidate_index=index,
        seed=job.seed,
        model=job.model or None,
        size=job.size,
        quality=job.quality,
    )


async def _make(job: ImageJob, base: Candidate, request: EditRequest, tools: StepTools) -> Candidate:
    """A candidate that costs nothing."""
    if await tools.is_canceled():
        raise RunCanceledError
    called = CallWatch(tools.provider.code, request.model)
    try:
        result = await tools.provider.edit(request)
    except Exception:
        called.ended("refused")
        raise
    called.ended("answered")
    made = await judge(job, base, result, tools)
    await asyncio.gather(*(tools.store.put(key, data) for key, data in made.files.items()))
    return made.candidate


async def _buy(
    job: ImageJob, base: Candidate, request: EditRequest, tools: StepTools, calls: PaidCalls
) -> Candidate:
    """A candidate that costs money: the ledger says whether, when and how often to call."""
    try:
        return await calls.edit(request, CandidateAnswerStore(job, base, tools))
    except ClaimGoneError as exc:
        raise ClaimLostError from exc


def _charged(error: ProviderError) -> dict[str, Any]:
    """What is known of a charge for which there is no picture."""
    if not isinstance(error, AnswerUnusableError):
        return {}
    cost_usd = None if error.cost_usd is None else str(error.cost_usd)
    return {
        "call_id": error.call_id,
        "model": error.model,
        "request_id": error.request_id,
        "cost_usd": cost_usd,
    }
