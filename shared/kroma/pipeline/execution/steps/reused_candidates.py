"""Taking a candidate that an earlier run made of the same inputs."""

import asyncio
import hashlib
from uuid import uuid4

import msgspec

from kroma.imaging.header import MAX_BYTES
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.picture_record import copy_sidecar
from kroma.pipeline.execution.reuse import FormerCandidates
from kroma.pipeline.execution.step_tools import StepTools
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError, OutsideProjectError
from kroma.storage.keys import output_key


async def take(
    job: ImageJob, index: int, input_hash: str, former: FormerCandidates, tools: StepTools
) -> Candidate | None:
    """The candidate with a copy of its picture for this run; None when none is left whole.

    Raises:
        StoreFullError: The copy could not be kept.
    """
    for _, candidate, key in await former.find([input_hash]):
        data = None if candidate.file is None else await _read_unchanged(tools.store, key, candidate.file)
        if candidate.file is None or data is None:
            continue
        target = output_key(job.run_id, job.planned.job_key, index, key.rpartition(".")[2])
        await tools.store.put(target, data)
        await copy_sidecar(tools.store, key, target)
        file = msgspec.structs.replace(
            candidate.file,
            path=target,
            asset_id=asset_id(job.project_id, target),
            storage_uri=tools.store.uri(target),
        )
        return msgspec.structs.replace(
            candidate,
            id=uuid4(),
            file=file,
            call_id=None,
            cost_usd="0",
            duration_ms=0.0,
            reused_from=candidate.id,
        )
    return None


async def _read_unchanged(store: ObjectStore, key: str, file: FileLog) -> bytes | None:
    """The picture's bytes; None when it has gone or is another one by now."""
    try:
        data = await store.get(key, limit_bytes=MAX_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError, OutsideProjectError):
        return None
    return data if await asyncio.to_thread(_sha256, data) == file.sha256 else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
