"""Sending files to a bucket: many at once, large ones in parts that are never sent twice."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from kroma.errors import KromaError
from kroma.storage.bucket import Bucket, BucketPart
from kroma.storage.errors import ObjectNotFoundError, ObjectRefusedError
from kroma.sync.errors import (
    FileChangedError,
    FileGoneError,
    FileUnreadableError,
    UploadGoneError,
)
from kroma.sync.local_files import Digests, LocalFile, LocalTree
from kroma.sync.parallel import ByteBudget, in_parallel
from kroma.sync.progress import Progress, SyncResult

IN_MEMORY_BYTES: Final = 96 * 1024**2
"""Of files and parts that are being sent; the connections hold about as much again."""
PARTS_AT_ONCE: Final = 4
_TRIES: Final = 3
"""For a file that changed during the read."""


Result = TypeVar("Result")


class UploadNotes(Protocol):
    """What is known of uploads in parts over the end of a process."""

    async def find_known(self) -> Mapping[str, str]:
        """The SHA-256 of what each upload is of, by its id."""
        ...

    async def note_begun(self, upload_id: str, sha256: str) -> None:
        """Note an upload before its first part is sent."""
        ...


class Uploader:
    """Sends the files of a tree below a prefix."""

    def __init__(
        self,
        bucket: Bucket,
        tree: LocalTree,
        *,
        prefix: str,
        at_once: int,
        notes: UploadNotes,
        progress: Progress,
        result: SyncResult,
    ) -> None:
        self._bucket = bucket
        self._tree = tree
        self._layout = tree.layout
        self._prefix = prefix
        self._at_once = at_once
        self._notes = notes
        self._progress = progress
        self._result = result
        self._budget = ByteBudget(IN_MEMORY_BYTES)
        # Two threads, not the usual dozen: what a thread freed of parts stays with it, and adds up.
        self._large = ThreadPoolExecutor(2, thread_name_prefix="sync-parts")
        self._left: dict[str, list[str]] = {}
        self._known: Mapping[str, str] = {}
        self.sent: list[str] = []
        """Keys below the root of what is in the bucket now."""
        self.problems: list[KromaError] = []
        """Of files that cannot be read as they are, or that the bucket refuses; the others are sent."""

    async def send(self, files: Sequence[LocalFile]) -> None:
        """Send them all; what an interrupted sync left of others is taken away.

        Raises:
            KromaError: The bucket refuses or does not answer; finished parts stay for the next attempt.
        """
        self._known = await self._notes.find_known()
        if self._known or any(map(self._is_large, files)):
            await self._find_left(files)
        # Large ones first: small ones fill the gaps at the end.
        ordered = sorted(files, key=self._is_large, reverse=True)
        try:
            await in_parallel(ordered, self._send, at_once=self._at_once)
        finally:
            self._large.shutdown(wait=False, cancel_futures=True)

    def _is_large(self, file: LocalFile) -> bool:
        return self._layout.is_large(file.size_bytes)

    async def _find_left(self, files: Sequence[LocalFile]) -> None:
        wanted = {file.key for file in files if self._is_large(file)}
        foreign: list[tuple[str, str]] = []
        async for upload in self._bucket.list_uploads(self._prefix):
            key = upload.key[len(self._prefix) :]
            if key in wanted and upload.upload_id in self._known:
                self._left.setdefault(key, []).append(upload.upload_id)
            else:
                foreign.append((upload.key, upload.upload_id))
        for key, upload_id in foreign:
            await self._bucket.abort_upload(key, upload_id)

    async def _send(self, file: LocalFile) -> None:
        try:
            sent = await self._send_file(file)
        except (FileChangedError, FileUnreadableError, ObjectRefusedError) as exc:
            self.problems.append(exc)
        except FileGoneError:
            return  # it was removed meanwhile: there is nothing to copy any more
        else:
            self._note_sent(sent)

    async def _send_file(self, file: LocalFile) -> LocalFile:
        """Send a file as it is now, which is what comes back."""
        now: LocalFile | None = file
        for _ in range(_TRIES):
            if now is None:
                raise FileGoneError(file.key)
            try:
                await (self._send_large(now) if self._is_large(now) else self._send_small(now))
            except FileChangedError:
                now = await asyncio.to_thread(self._tree.find, file.key)
            else:
                return now
        raise FileChangedError(file.key)

    def _note_sent(self, file: LocalFile) -> None:
        self.sent.append(file.key)
        self._result.copied += 1
        self._result.copied_bytes += file.size_bytes
        self._progress.files_done += 1

    async def _send_small(self, file: LocalFile) -> None:
        async with self._budget.holding(file.size_bytes):
            data = await asyncio.to_thread(self._tree.content, file)
            await self._bucket.put(self._prefix + file.key, data)
        self._progress.bytes_done += file.size_bytes

    async def _send_large(self, file: LocalFile) -> None:
        key, usual = self._prefix + file.key, self._layout.part_size(file.size_bytes)
        lengths = self._layout.lengths(file.size_bytes)
        digests = await self._digests(file, lengths)
        upload_id, parts = await self._upload_of(file.key, digests, lengths)
        kept = sum(lengths[number - 1] for number in parts)
        self._result.parts_kept += len(parts)
        self._progress.bytes_done += kept

        async def send(number: int) -> None:
            length = lengths[number - 1]
            async with self._budget.holding(length):
                data = await self._read(file, (number - 1) * usual, length)
                if await self._threads(_md5, data) != digests.parts[number - 1]:
                    raise FileChangedError(file.key)
                etag = await self._bucket.put_part(key, upload_id, number, data)
            parts[number] = BucketPart(number=number, etag=etag, size_bytes=length)
            self._result.parts_sent += 1
            self._progress.bytes_done += length

        waiting = [number for number in range(1, len(lengths) + 1) if number not in parts]
        try:
            await in_parallel(waiting, send, at_once=PARTS_AT_ONCE)
            await self._bucket.complete_upload(key, upload_id, [parts[number] for number in sorted(parts)])
        except (FileChangedError, FileGoneError):
            self._progress.bytes_done -= sum(part.size_bytes for part in parts.values())
            with suppress(KromaError):  # the next sync finds it
                await self._bucket.abort_upload(key, upload_id)
            raise
        except ObjectNotFoundError as exc:
            raise UploadGoneError(file.key) from exc

    async def _read(self, file: LocalFile, start: int, length: int) -> bytes:
        return await self._threads(self._tree.part, file, start, length)

    def _threads(self, work: Callable[..., Result], *arguments: object) -> "asyncio.Future[Result]":
        return asyncio.get_running_loop().run_in_executor(self._large, work, *arguments)

    async def _digests(self, file: LocalFile, lengths: Sequence[int]) -> Digests:
        """Piece by piece, so that a canceled sync ends soon."""
        whole = hashlib.sha256()
        md5s: list[bytes] = []
        start = 0
        for length in lengths:
            async with self._budget.holding(length):
                data = await self._read(file, start, length)
                md5s.append(await self._threads(_md5, data))
                await self._threads(whole.update, data)
                del data  # before the budget lets the next one in
            start += length
        if await asyncio.to_thread(self._tree.find, file.key) != file:
            raise FileChangedError(file.key)
        return Digests(whole.hexdigest(), tuple(md5s))

    async def _upload_of(
        self, key: str, digests: Digests, lengths: Sequence[int]
    ) -> tuple[str, dict[int, BucketPart]]:
        """The upload to go on with, and its good parts; a new one where none is of these bytes."""
        found: tuple[str, dict[int, BucketPart]] | None = None
        for upload_id in self._left.pop(key, []):
            if found is None and self._known.get(upload_id) == digests.sha256:
                parts = await self._bucket.list_parts(self._prefix + key, upload_id)
                found = upload_id, {part.number: part for part in parts if _is_good(part, digests, lengths)}
            else:
                await self._bucket.abort_upload(self._prefix + key, upload_id)
        if found is not None:
            return found
        upload_id = await self._bucket.begin_upload(self._prefix + key, sha256=digests.sha256)
        # Before any part: an upload that nobody knows is of no use to the next attempt.
        await self._notes.note_begun(upload_id, digests.sha256)
        return upload_id, {}


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _is_good(part: BucketPart, digests: Digests, lengths: Sequence[int]) -> bool:
    """Whether a part that is there has the bytes that the file has there."""
    if not 1 <= part.number <= len(lengths) or part.size_bytes != lengths[part.number - 1]:
        return False
    return part.etag == digests.parts[part.number - 1].hex()
