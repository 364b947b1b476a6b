"""Hashes of pictures, and the baselines locked for scenes with the same content."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from kroma.errors import KromaError
from kroma.imaging.header import MAX_BYTES
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.pipeline.planning.plan import PlannedJob
from kroma.pipeline.planning.project_inputs import StandingBaseline
from kroma.storage.base import ObjectStore

READ_AT_A_TIME: Final = 4


async def with_baselines(
    store: ObjectStore, jobs: Sequence[PlannedJob], baselines: Sequence[StandingBaseline]
) -> tuple[PlannedJob, ...]:
    """The jobs, each with the picture that is locked for a scene with the same content, if any.

    A scene that is itself a locked picture is its own baseline.

    Raises:
        PlanningPreflightError: A scene cannot be read.
    """
    of_scene = {baseline.scene_sha256: baseline for baseline in baselines}
    locked = {baseline.sha256 for baseline in baselines}
    # A scene of another size has other content; it is not read.
    sizes = {baseline.scene_size_bytes for baseline in baselines}
    sizes |= {baseline.picture.size_bytes for baseline in baselines}
    to_read = [job.scene.key for job in jobs if job.scene.size_bytes in sizes]
    hashes = await content_hashes(store, to_read)

    def of(job: PlannedJob) -> PlannedJob:
        digest = hashes.get(job.scene.key)
        if digest in locked:
            return msgspec.structs.replace(job, baseline=job.scene)
        found = None if digest is None else of_scene.get(digest)
        return msgspec.structs.replace(job, baseline=None if found is None else found.picture)

    return tuple(of(job) for job in jobs)


async def content_hashes(store: ObjectStore, keys: list[str]) -> dict[str, str]:
    """SHA-256 of each object, in hex, by key; each object is read once.

    Raises:
        PlanningPreflightError: An object cannot be read.
    """
    free = asyncio.Semaphore(READ_AT_A_TIME)

    async def hash_contents(key: str) -> str:
        async with free:
            data = await store.get(key, limit_bytes=MAX_BYTES)
            return (await asyncio.to_thread(sha256, data)).hexdigest()

    unique = list(dict.fromkeys(keys))
    try:
        return dict(zip(unique, await asyncio.gather(*map(hash_contents, unique)), strict=True))
    except KromaError as exc:
        raise PlanningPreflightError(exc.message) from exc
