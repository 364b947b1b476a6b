"""The contact sheet of a run, from its log and its pictures."""

import asyncio
from typing import Final
from uuid import UUID

import msgspec

from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.errors import InvalidRequestError
from kroma.imaging.header import MAX_BYTES
from kroma.imaging.sheet import SheetCell, SheetHeader, SheetRow, contact_sheet
from kroma.runlog.reader import MAX_LOG_BYTES, read_log
from kroma.runlog.schema import CandidateLog, JobLog, RunLog
from kroma.runs.errors import RunNotFoundError
from kroma.runs.models import Run
from kroma.storage.base import ObjectStore, ProjectStores
from kroma.storage.errors import ObjectNotFoundError
from kroma.storage.keys import sheet_key

_SHORT_ID: Final = 8


class RunNotFinishedError(InvalidRequestError):
    """A run has no log yet, so nothing to show."""

    code = "run_not_finished"

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"Run {run_id} has not finished; its sheet can be drawn when it has")


class DrawnSheet(msgspec.Struct, frozen=True, kw_only=True):
    """A sheet that was written."""

    uri: str
    data: bytes
    """PNG."""


async def draw_run_sheet(db: Database, stores: ProjectStores, run_id: str) -> DrawnSheet:
    """Draw a finished run and keep the sheet beside its pictures.

    Raises:
        RunNotFoundError: No run has this id.
        RunNotFinishedError: It is still at work.
    """
    identifier = row_id(run_id)
    async with db.transaction() as session:
        run = await session.get(Run, identifier) if identifier else None
    if run is None:
        raise RunNotFoundError
    if run.finished_at is None or run.run_log_path is None:
        raise RunNotFinishedError(run.id)
    store = stores.open(str(run.plan_json["project_root"]))
    log = read_log(await store.get(run.run_log_path, limit_bytes=MAX_LOG_BYTES), source=run.run_log_path)
    rows = [await _row(store, job) for job in log.jobs]
    data = await asyncio.to_thread(contact_sheet, rows, header=await _header(store, log))
    key = sheet_key(run.id)
    await store.put(key, data)
    return DrawnSheet(uri=store.uri(key), data=data)


async def _header(store: ObjectStore, log: RunLog) -> SheetHeader:
    asked = [
        log.stage,
        log.time,
        log.weather,
        log.provider,
        f"{log.generation.candidates} candidates a scene",
    ]
    styles = {entry.ref: entry.file.path for job in log.jobs for entry in job.inputs if entry.role == "style"}
    pictures = [(ref.rpartition("/")[2], await _picture(store, path)) for ref, path in styles.items()]
    return SheetHeader(
        title=log.project,
        subtitle=f"run {str(log.run_id)[:_SHORT_ID]}, {', '.join(asked)}",
        styles=tuple((name, data) for name, data in pictures if data is not None),
    )


async def _row(store: ObjectStore, job: JobLog) -> SheetRow:
    scene = job.input_images[0]
    read = next((entry.file for entry in job.inputs if entry.role == "scene"), None)
    candidates = [] if job.candidates is msgspec.UNSET else job.candidates
    cells = [await _cell(store, c, winner=c.candidate_index == job.selected_candidate) for c in candidates]
    return SheetRow(
        scene_name=scene.rpartition("/")[2],
        scene=await _picture(store, read.path) if read else None,
        cells=tuple(cells),
        note=f"{read.width}x{read.height}" if read else job.status,
    )


async def _cell(store: ObjectStore, candidate: CandidateLog, *, winner: bool) -> SheetCell:
    report = candidate.output_guard
    return SheetCell(
        index=candidate.candidate_index,
        status=candidate.status,
        data=None if candidate.file is msgspec.UNSET else await _picture(store, candidate.file.path),
        chroma_delta=None if report is msgspec.UNSET else report.files[0].chroma_delta,
        reason=candidate.reason,
        winner=winner,
    )


async def _picture(store: ObjectStore, key: str) -> bytes | None:
    try:
        return await store.get(key, limit_bytes=MAX_BYTES)
    except ObjectNotFoundError:
        return None  # deleted since: the sheet leaves its frame empty
