"""Where a bought candidate lies before its call is settled: the picture under its own key, and a note.

The note names the call and says what was answered. Both are written at the same time, the step and the
settlement only afterwards: a worker that ends in between leaves everything for the next one.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from kroma.cpu import remote
from kroma.imaging.errors import PictureError
from kroma.imaging.header import EXTENSIONS
from kroma.ledger.answers import StoredAnswer
from kroma.ledger.outcomes import Answer
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.picture_record import kept_picture, record_of
from kroma.pipeline.execution.step_tools import StepTools
from kroma.providers.base import EditResult
from kroma.retries import retry
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import FileLog
from kroma.runs.models import CandidateStatus
from kroma.storage.base import ObjectStore
from kroma.storage.errors import ObjectNotFoundError, StoreUnavailableError
from kroma.storage.keys import answer_key, output_key

if TYPE_CHECKING:
    from kroma.imaging import codec
else:
    codec = remote("kroma.imaging.codec")

NOTE_VERSION: Final = 1
_NOTE_LIMIT_BYTES: Final = 1024 * 1024
_PICTURE_LIMIT_BYTES: Final = 64 * 1024 * 1024


class AnswerNote(msgspec.Struct, frozen=True, kw_only=True):
    """What lies beside a bought picture."""

    version: int = NOTE_VERSION
    call_id: UUID
    candidate: Candidate
    usage: dict[str, Any] = {}

    @property
    def answer(self) -> Answer:
        cost_usd = self.candidate.cost_usd
        return msgspec.convert(
            {
                "model": self.candidate.model,
                "cost_usd": cost_usd,
                "request_id": self.candidate.request_id,
                "usage": self.usage,
            },
            Answer,
        )


async def find_note(store: ObjectStore, run_id: UUID, call_id: UUID) -> AnswerNote | None:
    """What was answered to a call; None when no worker kept a note that can be read."""
    try:
        data = await store.get(answer_key(run_id, call_id), limit_bytes=_NOTE_LIMIT_BYTES)
    except ObjectNotFoundError:
        return None
    try:
        note = msgspec.json.decode(data, type=AnswerNote)
    except msgspec.DecodeError:
        return None
    return note if note.call_id == call_id and note.version == NOTE_VERSION else None


async def find_stored_answer(
    store: ObjectStore, run_id: UUID, call_id: UUID
) -> StoredAnswer[Candidate] | None:
    """What a worker kept of a call's answer; a candidate whose picture is not whole has failed."""
    note = await find_note(store, run_id, call_id)
    if note is None:
        return None
    candidate = note.candidate
    if candidate.file is not None and not await _is_whole(store, candidate.file):
        reason = "It was charged, but its picture could not be kept"
        candidate = msgspec.structs.replace(
            candidate, status=CandidateStatus.FAILED, file=None, error=reason, reason=reason
        )
    return StoredAnswer(answer=note.answer, kept=candidate)


async def _is_whole(store: ObjectStore, file: FileLog) -> bool:
    try:
        data = await store.get(file.path, limit_bytes=_PICTURE_LIMIT_BYTES)
    except ObjectNotFoundError:
        return False
    return hashlib.sha256(data).hexdigest() == file.sha256


class CandidateAnswerStore:
    """Implements ``kroma.ledger.answers.AnswerStore`` for one candidate."""

    def __init__(self, job: ImageJob, base: Candidate, tools: StepTools) -> None:
        self._job = job
        self._base = base
        self._tools = tools

    async def keep(self, call_id: UUID, result: EditResult, *, earlier_lost: int) -> Candidate:
        store = self._tools.store
        base = msgspec.structs.replace(self._base, call_id=call_id)
        made = await judge(self._job, base, result, self._tools, variant=earlier_lost)
        candidate = made.candidate
        note = AnswerNote(call_id=call_id, candidate=candidate, usage=result.usage)
        files = {answer_key(self._job.run_id, call_id): msgspec.json.encode(note), **made.files}
        await put_all(store, files)
        return candidate

    async def find(self, call_id: UUID) -> StoredAnswer[Candidate] | None:
        return await find_stored_answer(self._tools.store, self._job.run_id, call_id)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, and what is to be stored of it."""

    candidate: Candidate
    files: dict[str, bytes] = {}
    """By key: the picture with the record of its making, and the same record beside it."""


async def judge(
    job: ImageJob, base: Candidate, result: EditResult, tools: StepTools, *, variant: int = 0
) -> Judged:
    """The candidate that an answer makes, its picture decoded and described but not yet stored.

    Args:
        job: Whose candidate.
        base: What is known of it.
        result: The answer.
        tools: The step's.
        variant: Above 0 it gets a key of its own, since another picture may lie under the usual one.
    """
    answered = msgspec.structs.replace(
        base,
        model=result.model,
        parameters=result.parameters,
        request_id=result.request_id,
        cost_usd=None if result.cost_usd is None else str(result.cost_usd),
    )
    try:
        header = await tools.cpu.run(codec.verify, result.data, name="answer")
    except PictureError as exc:
        reason = f"Its answer is no usable picture ({exc.code})"
        return Judged(candidate=msgspec.structs.replace(answered, error=reason, reason=reason))
    extension = EXTENSIONS[header.mime_type]
    key = output_key(job.run_id, job.planned.job_key, base.index, extension, variant=variant)
    kept = await asyncio.to_thread(kept_picture, result.data, record_of(job, answered), key, header.mime_type)
    file = FileLog(
        asset_id=asset_id(job.project_id, key),
        path=key,
        storage_uri=tools.store.uri(key),
        sha256=kept.sha256,
        size_bytes=len(kept.data),
        mime_type=header.mime_type,
        width=header.width,
        height=header.height,
    )
    candidate = msgspec.structs.replace(answered, status=CandidateStatus.GENERATED, file=file)
    return Judged(candidate=candidate, files=kept.files)


async def put_all(store: ObjectStore, files: Mapping[str, bytes]) -> None:
    """Put what was paid for, by key; each file has its tries, whatever becomes of the others.

    Raises:
        StoreUnavailableError: The store stays away.
        StoreFullError: No space is left.
    """
    puts = [persistently(store, key, data) for key, data in files.items()]
    for outcome in await asyncio.gather(*puts, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


@retry(on=StoreUnavailableError, attempts=4, timeout=None, wait_initial=0.5, wait_jitter=0)
async def persistently(store: ObjectStore, key: str, data: bytes) -> None:
    """Put what was paid for, again while the store is away for a moment.

    Raises:
        StoreUnavailableError: It stays away.
        StoreFullError: No space is left.
    """
    await store.put(key, data)
