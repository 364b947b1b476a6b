"""Keeping what a tool made of a candidate's picture: its key, its record, and its place in the chain."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from kroma.imaging.header import EXTENSIONS, MAX_BYTES
from kroma.ledger.answers import StoredAnswer
from kroma.pipeline.execution.answer_store import AnswerNote, find_note, put_all
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.picture_record import kept_picture, record_of
from kroma.pipeline.execution.step_tools import StepTools
from kroma.postprocess.errors import ToolError
from kroma.postprocess.specs import Made
from kroma.providers.base import EditResult
from kroma.runlog.ids import asset_id
from kroma.runlog.schema import DerivedLog, FileLog
from kroma.runs.models import CandidateStatus
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError
from kroma.storage.keys import answer_key, derived_key

StepName = Literal["bg_remove", "bg_refine_openai", "upscale", "color"]
FOLDERS: Final[dict[StepName, str]] = {
    "bg_remove": "background_removed",
    "bg_refine_openai": "background_removed",
    "upscale": "upscaled",
    "color": "color_corrected",
}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The last picture of a candidate's chain, read."""

    file: FileLog
    data: bytes

    @property
    def name(self) -> str:
        return PurePosixPath(self.file.path).name


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is being made of a candidate's picture."""

    job: ImageJob
    candidate: Candidate
    source: Source
    step: StepName
    suffix: str
    """Of the file's name."""
    backend: str


async def read_source(candidate: Candidate, tools: StepTools) -> Source:
    """The candidate's last picture.

    Raises:
        ToolError: It has gone, or was never made.
    """
    file = candidate.final
    if file is None:
        raise ToolError("postprocess", f"candidate {candidate.index} has no picture")
    try:
        data = await tools.store.get(file.path, limit_bytes=4 * MAX_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError) as exc:
        raise ToolError("postprocess", exc.message) from exc
    return Source(file=file, data=data)


async def keep(work: Work, made: Made, tools: StepTools, *, model: str = "", **details: Any) -> Candidate:  # noqa: ANN401 - for the record
    """Store what was made; the candidate with it at the end of its chain."""
    entry, files = await _describe(
        work, made, tools, model=model, details={**made.details, **details}, variant=0
    )
    await asyncio.gather(*(tools.store.put(key, data) for key, data in files.items()))
    return msgspec.structs.replace(work.candidate, derived=(*work.candidate.derived, entry))


async def _describe(
    work: Work, made: Made, tools: StepTools, *, model: str, details: dict[str, Any], variant: int
) -> tuple[DerivedLog, dict[str, bytes]]:
    """The entry of what was made, and what is to be stored, by key."""
    job, source = work.job, work.source.file
    extension = EXTENSIONS[made.mime_type]
    key = derived_key(FOLDERS[work.step], job.run_id, source.path, work.suffix, extension, variant=variant)
    record = record_of(job, work.candidate, step=work.step, source=source)
    kept = await asyncio.to_thread(kept_picture, made.data, record, key, made.mime_type)
    file = FileLog(
        asset_id=asset_id(job.project_id, key),
        path=key,
        storage_uri=tools.store.uri(key),
        sha256=kept.sha256,
        size_bytes=len(kept.data),
        mime_type=made.mime_type,
        width=made.width,
        height=made.height,
    )
    entry = DerivedLog(
        step=work.step, source=source.path, file=file, backend=work.backend, model=model, details=details
    )
    return entry, kept.files


Finish = Callable[[bytes], Awaitable[Made]]
"""Makes of an answer what is kept; raises ``ToolError`` where the answer is no such picture."""


class DerivedPictures:
    """Implements ``kroma.ledger.calls.AnswerStore`` for one paid step of a candidate.

    The note beside an answer is that of a candidate: the one it belongs to, with what the call cost and
    the picture that was made of it; one that could not be made stands there with its reason.
    """

    def __init__(self, work: Work, tools: StepTools, finish: Finish) -> None:
        self._work = work
        self._tools = tools
        self._finish = finish

    async def keep(self, call_id: UUID, result: EditResult, *, earlier_lost: int) -> Candidate:
        candidate = msgspec.structs.replace(
            self._work.candidate,
            model=result.model,
            call_id=call_id,
            request_id=result.request_id,
            cost_usd=None if result.cost_usd is None else str(result.cost_usd),
        )
        files: dict[str, bytes] = {}
        try:
            made = await self._finish(result.data)
        except ToolError as exc:
            candidate = msgspec.structs.replace(
                candidate, status=CandidateStatus.FAILED, error=exc.message, error_code=exc.code
            )
        else:
            entry, files = await _describe(
                self._work,
                made,
                self._tools,
                model=result.model,
                details={**made.details, **result.parameters},
                variant=earlier_lost,
            )
            entry.provider_call_id = call_id
            entry.provider_request_id = result.request_id
            entry.cost_usd = None if result.cost_usd is None else float(result.cost_usd)
            candidate = msgspec.structs.replace(candidate, derived=(*candidate.derived, entry))
        note = AnswerNote(call_id=call_id, candidate=candidate, usage=result.usage)
        files[answer_key(self._work.job.run_id, call_id)] = msgspec.json.encode(note)
        await put_all(self._tools.store, files)
        return candidate

    async def find(self, call_id: UUID) -> StoredAnswer[Candidate] | None:
        note = await find_note(self._tools.store, self._work.job.run_id, call_id)
        if note is None:
            return None
        candidate = note.candidate
        if candidate.status is not CandidateStatus.FAILED and not await self._is_there(candidate):
            reason = "It was charged, but its picture could not be kept"
            candidate = msgspec.structs.replace(candidate, status=CandidateStatus.FAILED, error=reason)
        return StoredAnswer(answer=note.answer, kept=candidate)

    async def _is_there(self, candidate: Candidate) -> bool:
        file = candidate.final
        return file is not None and await self._tools.store.size(file.path) == file.size_bytes


def bought(work: Work, kept: Candidate) -> Candidate:
    """The candidate with what was bought for it; what the call cost stands with that, not with itself.

    Raises:
        ToolError: The answer was no such picture.
    """
    if kept.status is CandidateStatus.FAILED:
        raise ToolError(work.backend, kept.error or "it answered nothing that can be used")
    return msgspec.structs.replace(work.candidate, derived=kept.derived)
