"""Converts logs of version 2 to entries."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from kroma.runlog.entries import (
    CandidateEntry,
    CostEntry,
    Derivation,
    InputEntry,
    JobEntry,
    Picture,
    RankEntry,
    RunEntry,
    derived_status,
)
from kroma.runlog.errors import RunLogFieldError
from kroma.runlog.paths import below
from kroma.runlog.pictures import candidate_pictures
from kroma.runlog.schema import CandidateLog, CostLog, FileLog, JobLog, RunLog

_ENDED = frozenset({"ok", "partial", "failed", "canceled", "unknown"})

T = TypeVar("T")


def run_entry(log: RunLog, *, source: str) -> RunEntry:
    """Convert a log.

    Raises:
        RunLogFieldError: The mode or a timestamp is invalid, or a job key or candidate index is not unique.
    """
    rel_path = below(log.storage.project_root)
    _unique([job.id for job in log.jobs], source, "jobs[{}].id")
    if log.mode not in {"dry", "run"}:
        raise RunLogFieldError(source, "mode", "the value must be one of: dry, run")
    return RunEntry(
        id=log.run_id,
        project=log.project,
        mode="dry" if log.mode == "dry" else "run",
        stage=log.stage or None,
        time=log.time or None,
        weather=log.weather or None,
        provider=log.provider or None,
        model=log.model or None,
        size=log.size or None,
        quality=log.quality or None,
        status=log.status if log.status in _ENDED else derived_status([job.status for job in log.jobs]),
        candidates=max(1, log.generation.candidates),
        settings={
            "timestamp": log.timestamp,
            "generation": log.generation,
            "postprocess": log.postprocess,
            "output_guard": log.output_guard,
        },
        output_guard=log.output_guard,
        jobs=tuple(
            _job(job, rel_path, dry=log.mode == "dry", source=source, path=f"jobs[{position}]")
            for position, job in enumerate(log.jobs)
        ),
        costs=tuple(_cost(cost) for cost in log.cost_events),
        checks=_given(log.checks),
        error=log.error,
        error_kind=log.error_kind,
        error_code=log.error_code,
        started_at=_moment(log.started_at, source, "started_at"),
        finished_at=_moment(log.finished_at, source, "finished_at"),
    )


def _job(job: JobLog, rel_path: Callable[[str], str], *, dry: bool, source: str, path: str) -> JobEntry:
    listed = _given(job.candidates) or []
    _unique(
        [candidate.candidate_index for candidate in listed], source, path + ".candidates[{}].candidate_index"
    )
    final_output = _given(job.final_output)
    final = rel_path(final_output) if final_output else ""
    candidates = tuple(_candidate(candidate, rel_path) for candidate in listed)
    if not candidates and job.status == "planned":
        candidates = (CandidateEntry(index=1, status=job.status),)
    return JobEntry(
        key=job.id,
        id=job.job_id,
        status=job.status,
        prompt=job.prompt,
        selected_candidate=_given(job.selected_candidate),
        final_output=final_output,
        final=Picture(path=final) if final else None,
        candidates=candidates,
        inputs=()
        if dry
        else tuple(
            InputEntry(role=given.role, picture=Picture(path=rel_path(given.file.path), file=given.file))
            for given in job.inputs
        ),
        meta=job,
        attempts=job.attempts,
        error=_given(job.error),
        error_kind=_given(job.error_kind),
        error_code=_given(job.error_code),
        started_at=_moment(job.started_at, source, path + ".started_at"),
        finished_at=_moment(job.finished_at, source, path + ".finished_at"),
    )


def _candidate(candidate: CandidateLog, rel_path: Callable[[str], str]) -> CandidateEntry:
    output, final_output = _given(candidate.output) or None, _given(candidate.final_output) or None
    guard = _given(candidate.output_guard)
    file: FileLog | None = _given(candidate.file)
    generated, last = candidate_pictures(
        rel_path,
        output=output,
        final_output=final_output,
        checked=guard.checked_input if guard else None,
        archived=guard.bad_archive if guard else None,
        file=file,
        final_file=_given(candidate.final_file),
    )
    rank = candidate.rank
    return CandidateEntry(
        id=candidate.id,
        index=candidate.candidate_index,
        status=candidate.status,
        output=output,
        final_output=final_output,
        rank=RankEntry(
            hard_failures=rank.hard_failures,
            soft_warnings=rank.soft_warnings,
            avg_chroma_exceed=rank.avg_chroma_exceed,
        ),
        report=_report(candidate),
        generated=generated,
        last=last,
        chain=tuple(
            Derivation(step=made.step, picture=Picture(path=rel_path(made.file.path), file=made.file))
            for made in _given(candidate.derived) or []
        ),
        meta=candidate,
    )


def _report(candidate: CandidateLog) -> dict[str, Any]:
    reports = {"output_guard": candidate.output_guard, "quality": candidate.quality}
    return {name: report for name, report in reports.items() if report is not UNSET}


def _cost(cost: CostLog) -> CostEntry:
    meta = msgspec.structs.asdict(cost)
    if cost.cost_usd is None:
        meta["price"] = "unknown"  # the column has 0, although the call was not free
    return CostEntry(
        id=cost.id,
        provider=cost.provider_code,
        operation=cost.operation,
        units=Decimal(str(cost.units)),
        total_usd=Decimal(str(cost.cost_usd or 0)),
        currency=cost.currency,
        model=cost.model_name,
        job_key=cost.job_id or None,
        meta=meta,
    )


def _given(value: T | UnsetType) -> T | None:
    return None if value is UNSET else cast("T", value)


def _moment(text: str | None, source: str, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RunLogFieldError(source, field, "the value must be an ISO 8601 time") from error
    if moment.tzinfo is None:
        raise RunLogFieldError(source, field, "the value must be an ISO 8601 time with a UTC offset")
    return moment


def _unique(values: Sequence[int | str], source: str, field: str) -> None:
    seen: set[int | str] = set()
    for position, value in enumerate(values):
        if value in seen:
            raise RunLogFieldError(source, field.format(position), f"the value {value} is not unique")
        seen.add(value)
