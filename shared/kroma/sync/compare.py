"""What a folder and its copy have in common: by size and checksum, never by clocks."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from kroma.errors import KromaError
from kroma.storage.bucket import Bucket, BucketObject
from kroma.sync.local_files import LocalFile, LocalTree, Scan, etags
from kroma.sync.parallel import in_parallel
from kroma.sync.progress import Progress

_HASHERS: Final = 4
_BATCH_FILES: Final = 128
_BATCH_BYTES: Final = 16 * 1024**2


class Comparison(msgspec.Struct, kw_only=True):
    """Every file and object, in the list that says what it is."""

    equal: list[LocalFile]
    missing: list[LocalFile]
    """Files without an object."""
    different: list[LocalFile]
    """Files whose object has other bytes."""
    extra: list[str]
    """Keys below the root of objects without a file."""
    problems: list[KromaError]


async def look_at_both(
    bucket: Bucket, tree: LocalTree, *, prefix: str, progress: Progress
) -> tuple[Scan, dict[str, BucketObject]]:
    """The files of a tree, and the objects below a prefix by their keys below it.

    Raises:
        StoreUnavailableError: The root cannot be read, or the bucket does not answer.
        StoreForbiddenError: The bucket may not be listed.
        BucketNotFoundError: There is no such bucket.
    """
    progress.enter("looking")
    scan = asyncio.ensure_future(asyncio.to_thread(tree.scan))
    try:
        objects = await objects_below(bucket, prefix)
    except BaseException:
        scan.cancel()
        raise
    return await scan, objects


async def objects_below(bucket: Bucket, prefix: str) -> dict[str, BucketObject]:
    """Objects by their keys below a prefix; one that is the prefix itself is none of ours.

    Nor is one that only marks a folder, as the console of AWS makes them.

    Raises:
        KromaError: As the bucket.
    """
    cut = len(prefix)
    return {
        found.key[cut:]: found
        async for found in bucket.list_objects(prefix)
        if len(found.key) > cut and not (found.size_bytes == 0 and found.key.endswith("/"))
    }


async def compare(
    bucket: Bucket,
    tree: LocalTree,
    scan: Scan,
    objects: dict[str, BucketObject],
    *,
    at_once: int,
    progress: Progress,
) -> Comparison:
    """Tell what is equal from what is not.

    A file is equal to its object when both have the same size, and the object's ETag is that of the
    file's bytes, or the SHA-256 that was stored with it is theirs: a bucket that encrypts with keys of its
    own has ETags that say nothing.

    Raises:
        KromaError: As the bucket.
    """
    found = Comparison(
        equal=[],
        missing=[file for key, file in scan.files.items() if key not in objects],
        different=[],
        extra=[key for key in objects if key not in scan.files],
        problems=list(scan.problems),
    )
    alike: list[LocalFile] = []
    for key, file in scan.files.items():
        if key in objects:
            same_size = objects[key].size_bytes == file.size_bytes
            (alike if same_size else found.different).append(file)
    progress.enter("comparing", files=len(alike), size_bytes=sum(file.size_bytes for file in alike))
    unsure: list[LocalFile] = []

    async def look(batch: list[LocalFile]) -> None:
        for file, etag in zip(batch, await asyncio.to_thread(etags, tree, batch), strict=True):
            if isinstance(etag, KromaError):
                found.problems.append(etag)
            elif etag == objects[file.key].etag:
                found.equal.append(file)
            else:
                unsure.append(file)
            progress.files_done += 1
            progress.bytes_done += file.size_bytes

    async def ask(file: LocalFile) -> None:
        is_same = await _has_sha256(bucket, tree, file, objects[file.key])
        (found.equal if is_same else found.different).append(file)

    await in_parallel(_batches(alike), look, at_once=_HASHERS)
    await in_parallel(unsure, ask, at_once=at_once)
    return found


async def _has_sha256(bucket: Bucket, tree: LocalTree, file: LocalFile, listed: BucketObject) -> bool:
    known = await bucket.head(listed.key)
    if known is None or known.sha256 is None or known.size_bytes != file.size_bytes:
        return False
    return known.sha256 == await asyncio.to_thread(tree.sha256, file)


def _batches(files: Iterable[LocalFile]) -> Iterator[list[LocalFile]]:
    batch: list[LocalFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size_bytes
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
