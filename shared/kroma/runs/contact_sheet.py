"""The contact sheet of runs, from their logs and their pictures."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.errors import InvalidRequestError
from kroma.imaging.contact_sheet import SheetCell, SheetHeader, SheetRow, contact_sheet
from kroma.imaging.header import MAX_BYTES
from kroma.runlog.reader import MAX_LOG_BYTES, read_log
from kroma.runlog.schema import CandidateLog, FileLog, JobLog, RunLog
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
        super().__init__(f"Run {run_id} has not finished; draw its sheet afterwards")


class OtherProjectError(InvalidRequestError):
    """One sheet shows runs of one project."""

    text = "The runs of a sheet must belong to one project"


class DrawnSheet(msgspec.Struct, frozen=True, kw_only=True):
    """A sheet that was written."""

    uri: str
    data: bytes
    """PNG."""


class _Row:
    """A scene, and what each run made of it."""

    def __init__(self, scene_name: str, scene: bytes | None, note: str) -> None:
        self.scene_name = scene_name
        self.scene = scene
        self.note = note
        self.cells: dict[int, list[SheetCell]] = {}
        """By the run's place."""


async def draw_run_sheet(db: Database, stores: ProjectStores, run_ids: Sequence[str]) -> DrawnSheet:
    """Draw finished runs and keep the sheet beside the pictures of the last.

    A later run that began with an earlier one's pictures goes on in their rows.

    Args:
        run_ids: Of one project, in the order of the columns.

    Raises:
        RunNotFoundError: No run has this id.
        RunNotFinishedError: One is still at work.
        OtherProjectError: The runs are not of one project.
    """
    runs = [await _read_finished(db, run_id) for run_id in run_ids]
    if len({run.project_id for run in runs}) > 1:
        raise OtherProjectError
    plan = runs[-1].plan_json
    store = stores.open(str(plan["project_root"]), real_root=plan.get("real_root"))
    logs = [
        read_log(await store.get(path, limit_bytes=MAX_LOG_BYTES), source=path)
        for path in (str(run.run_log_path) for run in runs)
    ]
    rows: list[_Row] = []
    rows_by_picture: dict[str, _Row] = {}
    for position, log in enumerate(logs):
        for job in log.jobs:
            await _add(store, job, position, rows, rows_by_picture)
    widths = [max([1, *(len(row.cells.get(position, ())) for row in rows)]) for position in range(len(logs))]
    header = await _header(store, logs, widths)
    drawn = [_drawn(row, widths) for row in rows]
    data = await asyncio.to_thread(contact_sheet, drawn, header=header)
    key = sheet_key(runs[-1].id)
    await store.put(key, data)
    return DrawnSheet(uri=store.uri(key), data=data)


async def _read_finished(db: Database, run_id: str) -> Run:
    identifier = row_id(run_id)
    async with db.transaction() as session:
        run = await session.get(Run, identifier) if identifier else None
    if run is None:
        raise RunNotFoundError
    if run.finished_at is None or run.run_log_path is None:
        raise RunNotFinishedError(run.id)
    return run


async def _add(
    store: ObjectStore, job: JobLog, position: int, rows: list[_Row], rows_by_picture: dict[str, _Row]
) -> None:
    read = next((entry.file for entry in job.inputs if entry.role == "scene"), None)
    row = rows_by_picture.get(read.path) if read else None
    if row is None or position in row.cells:
        name = job.input_images[0].rpartition("/")[2]
        note = f"{read.width}x{read.height}" if read else job.status
        row = _Row(name, await _picture(store, read.path) if read else None, note)
        rows.append(row)
        if read:
            rows_by_picture.setdefault(read.path, row)
    candidates = [] if job.candidates is msgspec.UNSET else job.candidates
    row.cells[position] = []
    for candidate in candidates:
        wins = candidate.candidate_index == job.selected_candidate
        row.cells[position].append(await _cell(store, candidate, winner=wins))
        for file in (candidate.file, candidate.final_file):
            if file is not msgspec.UNSET:
                rows_by_picture[file.path] = row
    for candidate in candidates:
        if candidate.final_file is not msgspec.UNSET:
            row.cells[position].append(await _draw_finished_cell(store, candidate, candidate.final_file))


def _drawn(row: _Row, widths: list[int]) -> SheetRow:
    cells: list[SheetCell | None] = []
    for position, width in enumerate(widths):
        own = row.cells.get(position, [])
        cells += [*own, *([None] * (width - len(own)))]
    return SheetRow(scene_name=row.scene_name, scene=row.scene, cells=tuple(cells), note=row.note)


async def _header(store: ObjectStore, logs: list[RunLog], widths: list[int]) -> SheetHeader:
    first = logs[0]
    styles = {
        entry.ref: entry.file.path
        for log in logs
        for job in log.jobs
        for entry in job.inputs
        if entry.role == "style"
    }
    pictures = [(ref.rpartition("/")[2], await _picture(store, path)) for ref, path in styles.items()]
    several = len(logs) > 1
    columns = ["scene"]
    for log, width in zip(logs, widths, strict=True):
        columns += [_stage(log), *([""] * (width - 1))]
    ids = ", ".join(str(log.run_id)[:_SHORT_ID] for log in logs)
    asked = [log.provider for log in logs] if several else [_stage(first), first.provider]
    made = f"{first.generation.candidates} candidates a scene"
    return SheetHeader(
        title=first.project,
        subtitle=", ".join(
            [f"run{'s' * several} {ids}", *dict.fromkeys(asked), *([] if several else [made])]
        ),
        styles=tuple((name, data) for name, data in pictures if data is not None),
        columns=tuple(columns) if several else (),
    )


def _stage(log: RunLog) -> str:
    """The stage and what it varies: ``weather: rain, night``."""
    varied = {"time": log.time, "weather": f"{log.weather}, {log.time}"}.get(log.stage)
    return log.stage if varied is None else f"{log.stage}: {varied}"


async def _cell(store: ObjectStore, candidate: CandidateLog, *, winner: bool) -> SheetCell:
    report = candidate.output_guard
    return SheetCell(
        name=f"candidate {candidate.candidate_index}",
        status=candidate.status,
        data=None if candidate.file is msgspec.UNSET else await _picture(store, candidate.file.path),
        chroma_delta=None if report is msgspec.UNSET else report.files[0].chroma_delta,
        reason=candidate.reason,
        winner=winner,
    )


async def _draw_finished_cell(store: ObjectStore, candidate: CandidateLog, file: FileLog) -> SheetCell:
    chain = [] if candidate.derived is msgspec.UNSET else candidate.derived
    done = [f"{made.step} ({made.details.get('profile') or made.model or made.backend})" for made in chain]
    return SheetCell(
        name=f"candidate {candidate.candidate_index}, finished",
        status=f"{file.width}x{file.height}",
        data=await _picture(store, file.path),
        reason=", ".join(done),
    )


async def _picture(store: ObjectStore, key: str) -> bytes | None:
    try:
        return await store.get(key, limit_bytes=MAX_BYTES)
    except ObjectNotFoundError:
        return None  # deleted since: the sheet leaves its frame empty
