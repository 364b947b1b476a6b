"""Making a bucket's copy of a folder what the folder is."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from kroma.errors import KromaError
from kroma.storage.bucket import DELETED_AT_ONCE, Bucket
from kroma.sync.compare import Comparison, compare, look_at_both, objects_below
from kroma.sync.errors import FilesLeftOutError, KeyTooLongError, WouldDeleteAllError
from kroma.sync.layout import MAX_KEY_BYTES
from kroma.sync.local_files import LocalFile, LocalTree
from kroma.sync.progress import Progress, SyncResult, first_names
from kroma.sync.upload import Uploader, UploadNotes


class Mirrored(NamedTuple):
    """What the bucket holds of a folder now."""

    copied: list[str]
    """Keys below the root that are in the bucket now, sent or found equal."""
    left: frozenset[str]
    """Keys of all objects that were there before and have not been deleted."""


async def mirror(
    bucket: Bucket,
    tree: LocalTree,
    *,
    prefix: str,
    at_once: int,
    notes: UploadNotes,
    progress: Progress,
    result: SyncResult,
    dry_run: bool = False,
    delete_extra: bool = False,
    deleted_at_once: int = DELETED_AT_ONCE,
) -> Mirrored:
    """Send what the bucket lacks or has with other bytes; take away what has no file, if that is asked.

    Args:
        prefix: Of every key; nothing outside of it is touched.
        at_once: Small files under way at a time.
        notes: Of uploads in parts.
        result: Is told what was done, also of a sync that fails.
        dry_run: Only say what would be done.
        delete_extra: Remove objects whose file is gone.
        deleted_at_once: Objects removed with one request.

    Raises:
        FilesLeftOutError: Some files cannot be read, make no key, or are refused; the others are in the
            bucket. A dry run raises it, too, as far as it can know.
        WouldDeleteAllError: The folder is empty, and all that is in the bucket would go.
        KromaError: As the bucket.
    """
    scan, objects = await look_at_both(bucket, tree, prefix=prefix, progress=progress)
    if delete_extra and objects and not scan.files:
        raise WouldDeleteAllError(len(objects))
    found = await compare(bucket, tree, scan, objects, at_once=at_once, progress=progress)
    waiting, too_long = _by_length([*found.missing, *found.different], prefix)
    problems = [*found.problems, *too_long]
    total = len(scan.files) + len(scan.problems)
    result.equal = len(found.equal)
    equal = [file.key for file in found.equal]
    if dry_run:
        result.copied, result.copied_bytes = len(waiting), sum(file.size_bytes for file in waiting)
        result.copy_names = first_names([file.key for file in waiting])
        _count_extra(result, found, delete_extra=delete_extra)
        result.note_problems(problems)
        if problems:
            raise FilesLeftOutError.of(problems, total=total)
        return Mirrored([], frozenset(objects))
    progress.enter("copying", files=len(waiting), size_bytes=sum(file.size_bytes for file in waiting))
    uploader = Uploader(
        bucket, tree, prefix=prefix, at_once=at_once, notes=notes, progress=progress, result=result
    )
    await uploader.send(waiting)
    problems += uploader.problems
    result.note_problems(problems)
    if problems:
        raise FilesLeftOutError.of(problems, total=total)
    deleted: list[str] = []
    if delete_extra and found.extra:
        deleted = await _delete_extra(
            bucket, tree, prefix=prefix, at_once=deleted_at_once, progress=progress, result=result
        )
        gone = set(deleted)
        found.extra = [key for key in found.extra if key not in gone]
    _count_extra(result, found, delete_extra=False)
    return Mirrored([*equal, *uploader.sent], frozenset(objects).difference(deleted))


def _by_length(files: Sequence[LocalFile], prefix: str) -> tuple[list[LocalFile], list[KromaError]]:
    """Files that make a key, in the order of their keys, and why the others do not."""
    fitting: list[LocalFile] = []
    problems: list[KromaError] = []
    for file in sorted(files, key=lambda file: file.key):
        if len((prefix + file.key).encode()) <= MAX_KEY_BYTES:
            fitting.append(file)
        else:
            problems.append(KeyTooLongError(file.key, MAX_KEY_BYTES))
    return fitting, problems


async def _delete_extra(
    bucket: Bucket, tree: LocalTree, *, prefix: str, at_once: int, progress: Progress, result: SyncResult
) -> list[str]:
    """Delete what has no file now: the copying may have taken an hour, so both sides are asked anew.

    The result is told after each request, so that a deletion that ends early is no secret.
    """
    progress.enter("deleting")
    scan, objects = await asyncio.to_thread(tree.scan), await objects_below(bucket, prefix)
    if objects and not scan.files:
        raise WouldDeleteAllError(len(objects))
    if scan.problems:
        raise scan.problems[0]
    extra = sorted(key for key in objects if key not in scan.files)
    progress.enter("deleting", files=len(extra))
    deleted: list[str] = []
    for start in range(0, len(extra), at_once):
        batch = await asyncio.to_thread(_without_file, tree, extra[start : start + at_once])
        await bucket.delete([prefix + key for key in batch])
        deleted += batch
        result.deleted += len(batch)
        result.delete_names = first_names([*result.delete_names, *batch])
        progress.files_done += len(batch)
    return deleted


def _without_file(tree: LocalTree, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if not tree.is_there(key)]


def _count_extra(result: SyncResult, found: Comparison, *, delete_extra: bool) -> None:
    names = first_names(sorted(found.extra))
    if delete_extra:
        result.deleted, result.delete_names = len(found.extra), names
    else:
        result.extra, result.extra_names = len(found.extra), names
