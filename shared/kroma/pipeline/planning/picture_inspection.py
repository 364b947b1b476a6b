"""Finding a plan's pictures and reading their headers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from kroma.errors import KromaError
from kroma.imaging.errors import PictureError, PictureTooLargeError
from kroma.imaging.header import (
    HEAD_BYTES,
    IMAGE_EXTENSIONS,
    MAX_BYTES,
    TAIL_BYTES,
    PictureHeader,
    has_image_extension,
    inspect,
    inspect_header,
)
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.plan import PlannedPicture
from kroma.storage.base import ObjectEnds, ObjectStore
from kroma.storage.errors import ObjectNotFoundError
from kroma.storage.keys import is_thumbnail

BATCH: Final = 8
"""Pictures read at once."""
BATCHES_AT_A_TIME: Final = 4
FIRST_LOOK_BYTES: Final = 8 * 1024
"""Read from each end first; enough for nearly every picture. If it is not, more is read."""

Role = Literal["scene", "style", "reference", "baseline"]


class Located(msgspec.Struct, frozen=True):
    """A picture's path as given, and its key."""

    role: Role
    ref: str
    key: str
    called: str = ""
    """Its name in errors; empty means role and path."""


def located(
    store: ObjectStore, role: Role, refs: Sequence[str], path_of: Callable[[str], str] = str
) -> list[Located]:
    """The keys of references; ``path_of`` maps a reference to its path. Reads nothing.

    Raises:
        OutsideProjectError: A path leads outside the project.
    """
    return [Located(role, ref, store.key_of(path_of(ref))) for ref in refs]


async def scenes_of_input(store: ObjectStore, path: str) -> list[Located]:
    """A picture, or every picture below a folder except thumbnails, in the order of pipeline.md 4.1.

    Raises:
        PlanningPreflightError: The path does not exist, or holds no picture.
        OutsideProjectError: The path leads outside the project.
    """
    (given,) = located(store, "scene", [path])
    if await store.is_folder(given.key):
        keys = [
            key
            for key in await store.list_keys(given.key)
            if has_image_extension(key) and not is_thumbnail(key)
        ]
        if not keys:
            raise PlanningPreflightError(
                f"No scene references: folder '{path}' has no pictures ({_allowed_extensions()})"
            )
        return [Located("scene", key, key) for key in keys]
    if await store.size(given.key) is None:
        raise PlanningPreflightError(
            f"Input '{path}' was not found; name a file or folder below the project root, {store.location}"
        )
    if not has_image_extension(given.key):
        raise PlanningPreflightError(
            f"No scene references: input '{path}' is not a picture ({_allowed_extensions()})"
        )
    return [given]


async def inspect_pictures(store: ObjectStore, pictures: Sequence[Located]) -> list[PlannedPicture]:
    """Read the header of every picture, each file once.

    A file is read in full only if its ends do not show a whole picture: leading metadata or a trailing
    video can take megabytes.

    Raises:
        PlanningPreflightError: A picture is missing, or its name has no picture's extension. The first
            error in the given order is raised.
        PictureError: A file is not a whole picture, or too large.
        StoreUnavailableError: A file cannot be read.
    """
    first_of_key = {picture.key: picture for picture in reversed(pictures)}
    free = asyncio.Semaphore(BATCHES_AT_A_TIME)

    async def inspect_batch(batch: Sequence[Located]) -> dict[str, PlannedPicture | KromaError]:
        async with free:
            outcomes = await _outcomes(store, batch, head_bytes=FIRST_LOOK_BYTES, tail_bytes=FIRST_LOOK_BYTES)
            unclear = [p for p in batch if isinstance(outcomes[p.key], PictureError)]
            if unclear:
                outcomes |= await _outcomes(store, unclear, head_bytes=HEAD_BYTES, tail_bytes=TAIL_BYTES)
        return outcomes

    unique = list(first_of_key.values())
    batches = [unique[n : n + BATCH] for n in range(0, len(unique), BATCH)]
    outcome_of: dict[str, PlannedPicture | KromaError] = {}
    for outcomes in await asyncio.gather(*(inspect_batch(batch) for batch in batches)):
        outcome_of |= outcomes
    planned: list[PlannedPicture] = []
    for picture in pictures:  # one at a time: each may be 64 MiB
        outcome = outcome_of[picture.key]
        if isinstance(outcome, PictureError) and not isinstance(outcome, PictureTooLargeError):
            outcome = outcome_of[picture.key] = await _read_whole(store, first_of_key[picture.key])
        if isinstance(outcome, KromaError):
            raise outcome
        planned.append(msgspec.structs.replace(outcome, ref=picture.ref))
    return planned


async def _read_whole(store: ObjectStore, picture: Located) -> PlannedPicture:
    data = await store.get(picture.key, limit_bytes=MAX_BYTES)
    # In a thread: the search for the picture's end may scan megabytes.
    header = await asyncio.to_thread(inspect, data, name=picture.called or picture.ref)
    return _as_planned(picture, header, len(data))


async def _outcomes(
    store: ObjectStore, batch: Sequence[Located], *, head_bytes: int, tail_bytes: int
) -> dict[str, PlannedPicture | KromaError]:
    keys = [picture.key for picture in batch]
    found = await store.read_ends(keys, head_bytes=head_bytes, tail_bytes=tail_bytes)
    return {picture.key: _outcome(store, picture, ends) for picture, ends in zip(batch, found, strict=True)}


def _outcome(
    store: ObjectStore, picture: Located, ends: ObjectEnds | KromaError
) -> PlannedPicture | KromaError:
    thing = picture.called or f"{picture.role.capitalize()} '{picture.ref}'"
    if not has_image_extension(picture.key):
        return PlanningPreflightError(f"{thing} has no picture's extension ({_allowed_extensions()})")
    if isinstance(ends, ObjectNotFoundError):
        return PlanningPreflightError(
            f"{thing} was not found; name a file below the project root, {store.location}"
        )
    if isinstance(ends, KromaError):
        return ends
    try:
        header = inspect_header(ends.head, ends.tail, ends.size_bytes, name=picture.called or picture.ref)
    except KromaError as exc:
        return exc
    return _as_planned(picture, header, ends.size_bytes)


def _as_planned(picture: Located, header: PictureHeader, size_bytes: int) -> PlannedPicture:
    return PlannedPicture(
        ref=picture.ref,
        key=picture.key,
        mime_type=header.mime_type,
        width=header.width,
        height=header.height,
        size_bytes=size_bytes,
    )


def _allowed_extensions() -> str:
    return f"allowed: {', '.join(IMAGE_EXTENSIONS)}"
