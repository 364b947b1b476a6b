"""Bringing a project back from its bucket, and comparing the two without changing either."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from kroma.errors import KromaError
from kroma.storage.base import ObjectStore
from kroma.storage.bucket import Bucket, BucketObject
from kroma.storage.errors import (
    ChecksumMismatchError,
    ObjectNotFoundError,
    ObjectRefusedError,
    ObjectTooLargeError,
    OutsideProjectError,
    StoreUnavailableError,
    UnusableNameError,
)
from kroma.storage.references import relative_key
from kroma.storage.temp_files import PREFIX
from kroma.sync.compare import compare, look_at_both, objects_below
from kroma.sync.errors import FilesLeftOutError, PathTakenError, UnusableKeyError
from kroma.sync.local_files import LocalTree, Scan
from kroma.sync.parallel import in_parallel
from kroma.sync.progress import Progress, SyncResult, first_names

_OF_ONE_FILE: Final = (
    ChecksumMismatchError,
    ObjectNotFoundError,
    ObjectRefusedError,
    ObjectTooLargeError,
    OutsideProjectError,
    UnusableNameError,
)
"""What keeps one object from becoming a file, and no other."""


async def restore(
    bucket: Bucket,
    store: ObjectStore,
    tree: LocalTree,
    *,
    prefix: str,
    at_once: int,
    progress: Progress,
    result: SyncResult,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Fetch what the folder lacks; a file appears when all of it is there and has the right checksum.

    Nothing is written through a symlink, or where a folder has a file's name, or a file a folder's.

    Args:
        store: Where to put files, at the root of ``tree``.
        tree: What is there already; nothing of it is deleted.
        prefix: Of the copy's keys.
        at_once: Files under way at a time.
        result: Is told what was done, also of a restore that fails.
        dry_run: Only say what would be done.
        overwrite: Replace files that differ from their copy, which are kept otherwise.

    Raises:
        FilesLeftOutError: Some objects make no file here: by their name, by what is in its place, or since
            they are damaged. The others are there.
        StoreFullError: The disk is full; files that are there are whole.
        KromaError: As the bucket and the store.
    """
    if await asyncio.to_thread(tree.is_there, ""):
        scan, objects = await look_at_both(bucket, tree, prefix=prefix, progress=progress)
    else:
        progress.enter("looking")
        scan, objects = Scan({}, []), await objects_below(bucket, prefix)
    found = await compare(bucket, tree, scan, objects, at_once=at_once, progress=progress)
    problems = list(found.problems)
    usable = [key for key in found.extra if _is_usable(key)]
    problems += [UnusableKeyError(key) for key in found.extra if not _is_usable(key)]
    taken = await asyncio.to_thread(_taken, tree, usable)
    problems += taken.values()
    wanted = [key for key in usable if key not in taken]
    different = [file.key for file in found.different]
    if overwrite:
        wanted += different
    wanted.sort()
    size_bytes = sum(objects[key].size_bytes for key in wanted)
    result.equal = len(found.equal)
    result.note_problems(problems)
    if not overwrite:
        result.different, result.different_names = len(different), first_names(sorted(different))
    if dry_run:
        result.copied, result.copied_bytes, result.copy_names = len(wanted), size_bytes, first_names(wanted)
        return
    progress.enter("copying", files=len(wanted), size_bytes=size_bytes)

    async def fetch(key: str) -> None:
        listed = objects[key]
        try:
            async with bucket.open_stream(listed.key) as stream:
                chunks = _count(_verify(bucket, listed, stream.chunks), progress)
                await store.put_stream(key, chunks, limit_bytes=listed.size_bytes)
        except _OF_ONE_FILE as exc:
            problems.append(exc)
            return
        except StoreUnavailableError:
            # Of two objects, one may have the name of the other's folder.
            now_taken = await asyncio.to_thread(_taken, tree, [key])
            if not now_taken:
                raise
            problems.append(now_taken[key])
            return
        result.copied += 1
        result.copied_bytes += listed.size_bytes
        progress.files_done += 1

    await in_parallel(wanted, fetch, at_once=at_once)
    result.note_problems(problems)
    if problems:
        raise FilesLeftOutError.of(problems, total=len(objects))


async def verify(
    bucket: Bucket, tree: LocalTree, *, prefix: str, at_once: int, progress: Progress, result: SyncResult
) -> None:
    """Find what is on one side only, or on both with other bytes.

    Raises:
        KromaError: As the bucket.
    """
    scan, objects = await look_at_both(bucket, tree, prefix=prefix, progress=progress)
    found = await compare(bucket, tree, scan, objects, at_once=at_once, progress=progress)
    missing = sorted(file.key for file in found.missing)
    different = sorted(file.key for file in found.different)
    extra = sorted(found.extra)
    result.equal = len(found.equal)
    result.missing, result.missing_names = len(missing), first_names(missing)
    result.different, result.different_names = len(different), first_names(different)
    result.extra, result.extra_names = len(extra), first_names(extra)
    result.note_problems(found.problems)


def _taken(tree: LocalTree, keys: Sequence[str]) -> dict[str, KromaError]:
    """Keys that no file can be written under, and why."""
    obstacles = ((key, tree.blocking_reason(key)) for key in keys)
    return {key: PathTakenError(key, reason) for key, reason in obstacles if reason is not None}


def _is_usable(key: str) -> bool:
    """Whether a key is the path of a file inside a project, written as we write it."""
    try:
        is_plain = relative_key(key, roots=()) == key
    except (OutsideProjectError, UnusableNameError):
        return False
    return is_plain and not any(name.startswith(PREFIX) for name in key.split("/"))


async def _verify(
    bucket: Bucket, listed: BucketObject, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """The chunks, held against the ETag where no checksum of ours was stored with the object."""
    digest = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        await asyncio.to_thread(digest.update, chunk)
        yield chunk
    if "-" in listed.etag or digest.hexdigest() == listed.etag:
        return
    known = await bucket.head(listed.key)
    # A bucket with keys of its own has other ETags; what we stored there has been verified by its SHA-256.
    if known is None or known.sha256 is None:
        raise ChecksumMismatchError(listed.key)


async def _count(chunks: AsyncIterator[bytes], progress: Progress) -> AsyncGenerator[bytes]:
    async for chunk in chunks:
        progress.bytes_done += len(chunk)
        yield chunk
