"""Ask the provider for each candidate, keep what it makes."""

import asyncio
from time import perf_counter
from typing import Final
from uuid import uuid4

import msgspec

from kroma.db.base import utc_now
from kroma.errors import ProviderError
from kroma.imaging import codec
from kroma.imaging.errors import PictureError
from kroma.pipeline.image_job import Candidate, ImageJob
from kroma.pipeline.steps.errors import AllCandidatesFailedError
from kroma.pipeline.steps.inputs import JobInputs, read_inputs
from kroma.pipeline.tools import StepTools
from kroma.providers.base import EditRequest, EditResult
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog
from kroma.runs.errors import RunCancelledError
from kroma.runs.models import CandidateStatus
from kroma.storage.keys import output_key

EXTENSIONS: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}


async def generate(job: ImageJob, tools: StepTools) -> ImageJob:
    """Make every candidate that is not recorded yet, in parallel within the provider's own limit.

    A candidate whose call fails for good is kept as failed, with the reason; the others go on.

    Raises:
        ProviderError: A call failed in passing and a later attempt may make it, or every call failed.
        StoreFullError: A picture could not be kept.
        RunCancelledError: The run was cancelled before the next call.
    """
    inputs = await read_inputs(tools.store, job.planned.scene, job.styles, project_id=job.project_id)
    made = await asyncio.gather(
        *(_candidate(job, inputs, index, tools) for index in range(1, job.candidate_count + 1)),
        return_exceptions=True,
    )
    # Only after all have ended: what the others made is recorded and not asked for again.
    for outcome in made:
        if isinstance(outcome, BaseException):
            raise outcome
    candidates = tuple(outcome for outcome in made if isinstance(outcome, Candidate))
    if all(candidate.status is CandidateStatus.FAILED for candidate in candidates):
        raise AllCandidatesFailedError(tried=len(candidates), reason=candidates[0].error or "")
    return msgspec.structs.replace(job, inputs=inputs.logs, candidates=candidates)


async def _candidate(job: ImageJob, inputs: JobInputs, index: int, tools: StepTools) -> Candidate:
    name = f"generate/{index}"
    if (recorded := await tools.recorder.find(name, Candidate)) is not None:
        return recorded
    if await tools.is_cancelled():
        raise RunCancelledError
    started_at = utc_now()
    clock = perf_counter()
    request = _request(job, inputs, index)
    base = Candidate(
        id=uuid4(), index=index, status=CandidateStatus.FAILED, seed=job.seed, provider=tools.provider.code
    )
    try:
        candidate = await _kept(job, base, await tools.provider.edit(request), tools)
    except ProviderError as exc:
        if exc.retryable and tools.may_retry:
            raise
        candidate = msgspec.structs.replace(base, error=exc.message, reason=exc.message)
    duration_ms = round((perf_counter() - clock) * 1000, 3)
    candidate = msgspec.structs.replace(candidate, duration_ms=duration_ms)
    await tools.recorder.record(name, candidate, started_at=started_at, candidates=(candidate,))
    return candidate


def _request(job: ImageJob, inputs: JobInputs, index: int) -> EditRequest:
    scene, *styles = inputs.pictures
    return EditRequest(
        prompt=job.planned.prompt,
        scene=scene,
        styles=tuple(styles),
        stage=job.stage,
        time_of_day=job.time_of_day,
        weather=job.weather,
        candidate_index=index,
        seed=job.seed,
        size=job.size,
        quality=job.quality,
    )


async def _kept(job: ImageJob, base: Candidate, result: EditResult, tools: StepTools) -> Candidate:
    """Store a picture, once it has been decoded as one; what it cost is kept either way."""
    answered = msgspec.structs.replace(
        base,
        model=result.model,
        parameters=result.parameters,
        request_id=result.request_id,
        cost_usd=None if result.cost_usd is None else str(result.cost_usd),
    )
    try:
        header = await tools.cpu.run(codec.verify, result.data, name="answer")
    except PictureError as exc:
        reason = f"Its answer is no usable picture ({exc.code})"
        return msgspec.structs.replace(answered, error=reason, reason=reason)
    key = output_key(job.run_id, job.planned.job_key, base.index, EXTENSIONS[header.format])
    stored = await tools.store.put(key, result.data)
    file = FileLog(
        asset_id=asset_id(job.project_id, key),
        path=key,
        storage_uri=tools.store.uri(key),
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        mime_type=header.mime_type,
        width=header.width,
        height=header.height,
    )
    return msgspec.structs.replace(answered, status=CandidateStatus.GENERATED, file=file)
