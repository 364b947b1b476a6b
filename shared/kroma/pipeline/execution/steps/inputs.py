"""Reading a job's input pictures, once, with what they are recorded by."""

import asyncio
import hashlib
from typing import Literal
from uuid import UUID

import msgspec

from kroma.imaging.header import MAX_BYTES
from kroma.pipeline.planning.plan import PlannedPicture
from kroma.providers.base import ProviderPicture
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog, InputLog
from kroma.storage.base import ObjectStore


class JobInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures as the provider gets them and as the log records them.

    The scene comes first, then the styles, then the references.
    """

    pictures: tuple[ProviderPicture, ...]
    logs: tuple[InputLog, ...]

    def of_role(self, role: Literal["scene", "style", "reference"]) -> tuple[ProviderPicture, ...]:
        pairs = zip(self.pictures, self.logs, strict=True)
        return tuple(picture for picture, log in pairs if log.role == role)

    def hashes(self, role: Literal["scene", "style", "reference"]) -> list[str]:
        """SHA-256 of each picture that was read as this, in hex."""
        return [log.file.sha256 for log in self.logs if log.role == role]


async def read_inputs(
    store: ObjectStore,
    scene: PlannedPicture,
    styles: tuple[PlannedPicture, ...],
    references: tuple[PlannedPicture, ...] = (),
    *,
    project_id: UUID,
) -> JobInputs:
    """Read the scene, its styles and its references.

    Raises:
        ObjectNotFoundError: A picture has gone since the run was planned.
        ObjectTooLargeError: A picture has grown past the limit since.
    """
    planned = (scene, *styles, *references)
    roles: list[Literal["scene", "style", "reference"]] = [
        "scene",
        *("style" for _ in styles),
        *("reference" for _ in references),
    ]
    contents = await asyncio.gather(*(store.get(p.key, limit_bytes=MAX_BYTES) for p in planned))
    pictures = tuple(
        ProviderPicture(name=p.key.rpartition("/")[2], data=data, mime_type=p.mime_type)
        for p, data in zip(planned, contents, strict=True)
    )
    logs = tuple(
        InputLog(
            ref=p.ref,
            role=role,
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
        for role, p, data in zip(roles, planned, contents, strict=True)
    )
    return JobInputs(pictures=pictures, logs=logs)
