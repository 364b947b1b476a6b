"""The record of a picture's making that the pipeline writes into it, and beside it."""

import contextlib
import hashlib
from typing import NamedTuple

from kroma.db.base import utc_now
from kroma.imaging.provenance import MAX_RECORD_BYTES, ParentRecord, PictureRecord, sealed
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.runlog.schema import FileLog
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError
from kroma.storage.keys import sidecar_key


class KeptPicture(NamedTuple):
    """A picture as it is to be stored."""

    data: bytes
    sha256: str
    """Of ``data``, in hex."""
    files: dict[str, bytes]
    """By key: the picture, and its record beside it."""


def record_of(
    job: ImageJob, candidate: Candidate, *, step: str = "generate", source: FileLog | None = None
) -> PictureRecord:
    """How a candidate's picture was made.

    Args:
        job: Its job, with the inputs that were read.
        candidate: As the provider answered.
        step: What made this file.
        source: For a step after ``generate``, the picture that it changed: the only parent then.
    """
    parents = (
        tuple(
            ParentRecord(
                role=given.role,
                path=given.file.path,
                sha256=given.file.sha256,
                asset_id=given.file.asset_id,
            )
            for given in job.inputs
        )
        if source is None
        else (ParentRecord(role="source", path=source.path, sha256=source.sha256, asset_id=source.asset_id),)
    )
    return PictureRecord(
        step=step,
        made_at=utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        project_id=job.project_id,
        run_id=job.run_id,
        job_id=job.job_id,
        job_key=job.planned.job_key,
        candidate_id=candidate.id,
        candidate_index=candidate.index,
        stage=job.stage,
        time_of_day=job.time_of_day,
        weather=job.weather,
        prompt=job.planned.prompt,
        provider=candidate.provider,
        model=candidate.model,
        seed=candidate.seed,
        size=job.size or "",
        quality=job.quality or "",
        parameters=candidate.parameters,
        provider_request_id=candidate.request_id or "",
        provider_call_id=candidate.call_id,
        parents=parents,
    )


def kept_picture(data: bytes, record: PictureRecord, key: str, mime_type: str) -> KeptPicture:
    """The picture with its record inside, where the format can carry one, and the same beside it.

    Hashes all of it, so off the event loop.
    """
    picture = sealed(data, record)
    return KeptPicture(
        data=picture.data,
        sha256=hashlib.sha256(picture.data).hexdigest(),
        files={key: picture.data, sidecar_key(key): picture.sidecar(mime_type)},
    )


async def move_picture(store: ObjectStore, source_key: str, target_key: str) -> None:
    """Rename a picture and what lies beside it; older ones have nothing there.

    Raises:
        ObjectNotFoundError: The picture is at neither place.
    """
    await store.move(source_key, target_key)
    with contextlib.suppress(ObjectNotFoundError):
        await store.move(sidecar_key(source_key), sidecar_key(target_key))


async def copy_sidecar(store: ObjectStore, source_key: str, target_key: str) -> None:
    """Put what lies beside a picture beside its copy, which was made when and how the picture was."""
    try:
        data = await store.get(sidecar_key(source_key), limit_bytes=2 * MAX_RECORD_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError):
        return
    await store.put(sidecar_key(target_key), data)
