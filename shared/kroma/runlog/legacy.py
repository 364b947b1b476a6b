"""Converts the original's logs, of both generations, to entries (pipeline.md 8 and 9).

The generations differ only in values that ingest passes through: the first has ISO timestamps, whole guard
entries, ``backend`` and ``storage``; the second has epoch timestamps and ``planned_*`` in executed jobs.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from kroma.runlog.entries import (
    CandidateEntry,
    CostEntry,
    InputEntry,
    JobEntry,
    Picture,
    RankEntry,
    RunEntry,
    derived_status,
)
from kroma.runlog.fields import Fields
from kroma.runlog.paths import below
from kroma.runlog.pictures import candidate_pictures

UNKNOWN = "unknown"
_SETTINGS = ("timestamp", "generation", "postprocess", "output_guard")
_REPORT = ("output_guard", "qa")
_ZERO = Decimal(0)


def run_entry(log: Fields) -> RunEntry:
    """Convert a log.

    Raises:
        RunLogFieldError: A field has an invalid value.
    """
    mode = _mode(log)
    storage = log.mapping("storage")
    rel_path = below((storage.text("project_root") if storage else None) or "")
    listed = isinstance(log.value.get("jobs"), list)
    jobs = _jobs(log, rel_path, dry=mode == "dry") if listed else ()
    guard = log.mapping("output_guard")
    return RunEntry(
        project=log.text("project") or "",
        mode=mode,
        stage=log.text("stage"),
        time=log.text("time"),
        weather=log.text("weather"),
        model=log.text("model"),
        size=log.text("size"),
        quality=log.text("quality"),
        status=derived_status([job.status for job in jobs]) if listed else UNKNOWN,
        candidates=_asked_for(log, jobs),
        settings={name: log.value[name] for name in _SETTINGS if name in log.value},
        output_guard=guard.value if guard else None,
        jobs=jobs,
        costs=_costs(log),
    )


def _mode(log: Fields) -> Literal["dry", "run"]:
    match (log.text("mode") or "dry").strip().lower():
        case "dry":
            return "dry"
        case "run":
            return "run"
        case _:
            raise log.refuse("mode", "the value must be one of: dry, run")


def _asked_for(log: Fields, jobs: tuple[JobEntry, ...]) -> int:
    generation = log.mapping("generation")
    asked = generation.count("candidates") if generation else None
    return max(1, asked if asked is not None else max((len(job.candidates) for job in jobs), default=1))


def _jobs(log: Fields, rel_path: Callable[[str], str], *, dry: bool) -> tuple[JobEntry, ...]:
    taken: set[str] = set()
    jobs: list[JobEntry] = []
    for number, fields in enumerate(log.objects("jobs"), 1):
        key = fields.text("id") or f"job_{number}"
        while key in taken:  # the original did not check that ids are unique
            key = f"{key}_{number}"
        taken.add(key)
        jobs.append(_job(fields, key, rel_path, dry=dry))
    return tuple(jobs)


def _job(job: Fields, key: str, rel_path: Callable[[str], str], *, dry: bool) -> JobEntry:
    status = job.text("status") or UNKNOWN
    final_output = job.text("final_output")
    final = rel_path(final_output) if final_output else ""
    return JobEntry(
        key=key,
        status=status,
        prompt=job.text("prompt", "prompt_text") or "",
        selected_candidate=job.count("selected_candidate"),
        final_output=final_output,
        final=Picture(path=final) if final else None,
        candidates=_candidates(job, rel_path) or (_synthetic(job, status, rel_path),),
        inputs=() if dry else _inputs(job, rel_path),
        meta=job.value,
    )


def _inputs(job: Fields, rel_path: Callable[[str], str]) -> tuple[InputEntry, ...]:
    paths = [rel_path(text) for text in job.texts("input_images")]
    return tuple(
        InputEntry(role="style" if position else "scene", picture=Picture(path=path))
        for position, path in enumerate(paths)
        if path
    )


def _candidates(job: Fields, rel_path: Callable[[str], str]) -> tuple[CandidateEntry, ...]:
    taken: set[int] = set()
    candidates: list[CandidateEntry] = []
    for position, fields in enumerate(job.objects("candidates"), 1):
        stated = fields.count("candidate_index")
        index = position if stated is None else stated
        if index in taken:
            raise fields.refuse("candidate_index", f"the value {index} is not unique in its job")
        taken.add(index)
        candidates.append(_candidate(fields, index, rel_path))
    return tuple(candidates)


def _candidate(candidate: Fields, index: int, rel_path: Callable[[str], str]) -> CandidateEntry:
    output, final_output = candidate.text("output"), candidate.text("final_output")
    guard = candidate.mapping("output_guard")
    generated, last = candidate_pictures(
        rel_path,
        output=output,
        final_output=final_output,
        checked=guard.text("checked_input") if guard else None,
        archived=guard.text("bad_archive") if guard else None,
    )
    return CandidateEntry(
        index=index,
        status=candidate.text("status") or UNKNOWN,
        output=output,
        final_output=final_output,
        rank=_rank(candidate),
        report=_report(candidate),
        generated=generated,
        last=last,
        meta=candidate.value,
    )


def _synthetic(job: Fields, status: str, rel_path: Callable[[str], str]) -> CandidateEntry:
    """A placeholder for the candidates of a job that lists none."""
    output, final_output = job.text("output"), job.text("final_output")
    generated, last = candidate_pictures(rel_path, output=output, final_output=final_output)
    return CandidateEntry(
        index=1,
        status=status,
        output=output,
        final_output=final_output,
        report=_report(job),
        generated=generated,
        last=last,
    )


def _rank(candidate: Fields) -> RankEntry:
    rank = candidate.mapping("rank")
    if rank is None:
        return RankEntry()
    return RankEntry(
        hard_failures=rank.count("hard_failures") or 0,
        soft_warnings=rank.count("soft_warnings") or 0,
        avg_chroma_exceed=float(rank.number("avg_chroma_exceed", limit=10**6) or 0),
    )


def _report(entry: Fields) -> dict[str, Any]:
    return {name: entry.value[name] for name in _REPORT if entry.value.get(name) is not None}


def _costs(log: Fields) -> tuple[CostEntry, ...]:
    model = log.text("model")
    costs = [
        _cost(event, model, provider=UNKNOWN, operation="legacy_event", units=("units", "quantity"))
        for event in log.objects("cost_events")
    ]
    generation = log.mapping("generation")
    if generation is not None and _total(generation) is not None:
        costs.append(
            _cost(
                generation,
                model,
                provider="openai",
                operation="image_generation",
                units=("units", "images", "count"),
            )
        )
    total = _total(log)
    if total is not None and not costs:
        costs.append(
            CostEntry(
                provider=UNKNOWN,
                operation="run_total",
                units=Decimal(1),
                total_usd=total,
                currency=log.text("currency") or "USD",
                model=model,
                meta={k: log.value[k] for k in ("cost_usd", "amount_cents", "currency") if k in log.value},
            )
        )
    return tuple(costs)


def _cost(
    event: Fields, run_model: str | None, *, provider: str, operation: str, units: tuple[str, ...]
) -> CostEntry:
    return CostEntry(
        provider=event.text("provider_code", "provider") or provider,
        operation=event.text("operation_code", "operation", "event_type") or operation,
        units=event.number(*units) or _ZERO,
        total_usd=_total(event) or _ZERO,
        currency=event.text("currency") or "USD",
        model=event.text("model_name", "model") or run_model,
        job_key=event.text("job_id"),
        meta=event.value,
    )


def _total(event: Fields) -> Decimal | None:
    """US dollars; None if the object has no amount."""
    usd = event.number("cost_usd")
    if usd is not None:
        return usd
    cents = event.number("amount_cents")
    return None if cents is None else cents / 100
