"""Reading a job's input pictures, once, with what they are recorded by."""

import asyncio
import hashlib
from uuid import UUID

import msgspec

from kroma.pipeline.plan import PlannedPicture
from kroma.providers.base import ProviderPicture
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog, InputLog
from kroma.storage.base import ObjectStore

INPUT_LIMIT_BYTES = 64 * 1024 * 1024


class JobInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures as the provider gets them and as the log records them: scene first, then styles."""

    pictures: tuple[ProviderPicture, ...]
    logs: tuple[InputLog, ...]


async def read_inputs(
    store: ObjectStore, scene: PlannedPicture, styles: tuple[PlannedPicture, ...], *, project_id: UUID
) -> JobInputs:
    """Read the scene and its styles.

    Raises:
        ObjectNotFoundError: A picture has gone since the run was planned.
        ObjectTooLargeError: A picture has grown past the limit since.
    """
    planned = (scene, *styles)
    contents = await asyncio.gather(*(store.get(p.key, limit_bytes=INPUT_LIMIT_BYTES) for p in planned))
    pictures = tuple(
        ProviderPicture(name=p.key.rpartition("/")[2], data=data, mime_type=p.mime_type)
        for p, data in zip(planned, contents, strict=True)
    )
    logs = tuple(
        InputLog(
            ref=p.ref,
            role="scene" if position == 0 else "style",
            file=FileLog(
                asset_id=asset_id(project_id, p.key),
                path=p.key,
                storage_uri=store.uri(p.key),
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                mime_type=p.mime_type,
                width=p.width,
                height=p.height,
            ),
        )
        for position, (p, data) in enumerate(zip(planned, contents, strict=True))
    )
    return JobInputs(pictures=pictures, logs=logs)
