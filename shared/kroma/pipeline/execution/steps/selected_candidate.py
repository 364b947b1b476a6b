"""Taking the candidate that a person chose: nothing is generated, and nobody judges it again."""

import asyncio
import hashlib
from uuid import uuid4

import msgspec

from kroma.db.base import utc_now
from kroma.imaging.header import MAX_BYTES
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.picture_record import copy_sidecar
from kroma.pipeline.execution.step_tools import StepTools
from kroma.pipeline.execution.steps.errors import SelectedPictureChangedError
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import CandidateLog
from kroma.runs.models import CandidateStatus
from kroma.storage.keys import output_key


async def take_selected(job: ImageJob, chosen: CandidateLog, tools: StepTools) -> Candidate:
    """The chosen candidate with a copy of its picture for this run.

    It counts as having passed, whatever its checks said: a person has looked at it. What they said stays
    with it.

    Raises:
        ObjectNotFoundError: Its picture has gone.
        SelectedPictureChangedError: It is another picture by now.
        StoreFullError: The copy could not be kept.
    """
    index = chosen.candidate_index
    name = f"generate/{index}"
    if (recorded := await tools.recorder.find(name, Candidate)) is not None:
        return recorded
    if chosen.file is msgspec.UNSET:
        raise SelectedPictureChangedError(chosen.output or "")
    started_at = utc_now()
    source = chosen.file
    data = await tools.store.get(source.path, limit_bytes=MAX_BYTES)
    if await asyncio.to_thread(_sha256, data) != source.sha256:
        raise SelectedPictureChangedError(source.path)
    target = output_key(job.run_id, job.planned.job_key, index, source.path.rpartition(".")[2])
    await tools.store.put(target, data)
    await copy_sidecar(tools.store, source.path, target)
    candidate = Candidate(
        id=uuid4(),
        index=index,
        status=CandidateStatus.DONE,
        seed=chosen.seed,
        provider=chosen.provider,
        model=chosen.model,
        file=msgspec.structs.replace(
            source,
            path=target,
            asset_id=asset_id(job.project_id, target),
            storage_uri=tools.store.uri(target),
        ),
        report=chosen.output_guard or None,
        quality=chosen.quality or None,
        rank=chosen.rank,
        reason="A person chose it.",
        parameters=chosen.parameters,
        cost_usd="0",
        reused_from=chosen.id,
    )
    await tools.recorder.record(name, candidate, started_at=started_at, candidates=(candidate,))
    return candidate


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
