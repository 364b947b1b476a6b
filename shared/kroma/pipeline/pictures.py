"""Finding a plan's pictures and reading their headers."""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from kroma.errors import KromaError
from kroma.imaging.header import HEAD_BYTES, IMAGE_EXTENSIONS, TAIL_BYTES, has_image_extension, inspect_header
from kroma.pipeline.errors import PlanningPreflightError
from kroma.pipeline.plan import PlannedPicture
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError

READS_AT_A_TIME: Final = 8

Role = Literal["scene", "style"]


class Located(msgspec.Struct, frozen=True):
    """A picture's path as given, and its key."""

    role: Role
    ref: str
    key: str


async def located(store: ObjectStore, role: Role, refs: Sequence[str]) -> list[Located]:
    """The keys that paths mean; nothing is read yet.

    Raises:
        OutsideProjectError: A path leads outside the project.
    """

    def keys() -> list[Located]:
        return [Located(role, ref, store.key_of(ref)) for ref in refs]

    return await asyncio.to_thread(keys)


async def scenes_of_input(store: ObjectStore, path: str) -> list[Located]:
    """A picture, or every picture below a folder, in the order of pipeline.md 4.1.

    Raises:
        PlanningPreflightError: There is no such place, or no picture in it.
        OutsideProjectError: The path leads outside the project.
    """
    (given,) = await located(store, "scene", [path])
    if await store.is_folder(given.key):
        keys = [key for key in await store.list_keys(given.key) if has_image_extension(key)]
        if not keys:
            raise PlanningPreflightError(
                f"No scene references: folder '{path}' holds no pictures ({_allowed_extensions()})"
            )
        return [Located("scene", key, key) for key in keys]
    if await store.size(given.key) is None:
        raise PlanningPreflightError(
            f"Input '{path}' was not found; name a file or folder below the project root, {store.location}"
        )
    if not has_image_extension(given.key):
        raise PlanningPreflightError(
            f"No scene references: input '{path}' is no picture ({_allowed_extensions()})"
        )
    return [given]


async def inspected(store: ObjectStore, pictures: Sequence[Located]) -> list[PlannedPicture]:
    """Read every picture's header, each file once; the first picture that fails, in the given order, decides.

    Raises:
        PlanningPreflightError: A picture is missing or its name is no picture's.
        PictureError: A file is no whole picture, or too large.
        StoreUnavailableError: A file cannot be read.
    """
    free = asyncio.Semaphore(READS_AT_A_TIME)
    first_of_key = {picture.key: picture for picture in reversed(pictures)}

    async def read(picture: Located) -> PlannedPicture | KromaError:
        async with free:
            try:
                return await _inspected(store, picture)
            except KromaError as exc:
                return exc

    results = await asyncio.gather(*(read(picture) for picture in first_of_key.values()))
    found = dict(zip(first_of_key, results, strict=True))
    return [_as_given(found[picture.key], picture) for picture in pictures]


async def _inspected(store: ObjectStore, picture: Located) -> PlannedPicture:
    if not has_image_extension(picture.key):
        raise PlanningPreflightError(
            f"{picture.role.capitalize()} '{picture.ref}' is no picture by its name ({_allowed_extensions()})"
        )
    try:
        ends = await store.read_ends(picture.key, head_bytes=HEAD_BYTES, tail_bytes=TAIL_BYTES)
    except ObjectNotFoundError as exc:
        raise PlanningPreflightError(
            f"{picture.role.capitalize()} '{picture.ref}' was not found;"
            f" name a file below the project root, {store.location}"
        ) from exc
    header = inspect_header(ends.head, ends.tail, ends.size_bytes, name=picture.ref)
    return PlannedPicture(
        ref=picture.ref,
        key=picture.key,
        mime_type=header.mime_type,
        width=header.width,
        height=header.height,
        size_bytes=ends.size_bytes,
    )


def _as_given(result: PlannedPicture | KromaError, picture: Located) -> PlannedPicture:
    if isinstance(result, KromaError):
        raise result
    return msgspec.structs.replace(result, ref=picture.ref)


def _allowed_extensions() -> str:
    return f"allowed: {', '.join(IMAGE_EXTENSIONS)}"
