"""The rules that hold whatever was killed. A rule gives one line for each thing it finds wrong."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeVar
from uuid import UUID

from chaos.history import CallRow, History, JobRow
from kroma.runs.models import OPEN_JOB_STATUSES, OPEN_RUN_STATUSES
from kroma.runs.states import JOB_MOVES, RUN_MOVES

T = TypeVar("T")
K = TypeVar("K")

FAILED: Final = ("failed", "failed_output_guard")
NO_MONEY: Final = Decimal(0)


def findings(history: History) -> list[str]:
    """Everything that is wrong; empty when every rule holds."""
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(history)]


def every_answer_was_right(history: History) -> Iterator[str]:
    """No client got an answer that it cannot do anything with."""
    for text, times in history.told.wrong.items():
        yield f"{text} ({times} times)"


def every_accepted_run_ended(history: History) -> Iterator[str]:
    """What was answered 202 is in the table and has come to an end."""
    runs = _by_id(history.runs)
    for accepted in history.told.accepted:
        run = runs.get(UUID(accepted.run_id))
        if run is None:
            yield f"run {accepted.run_id} was accepted and is not in the table"
        elif run.status in OPEN_RUN_STATUSES:
            yield f"run {run.id} was accepted and is {run.status}"


def every_key_made_one_run(history: History) -> Iterator[str]:
    """All answers to one key name one run, and there is no run that nobody asked for."""
    named: dict[str, set[str]] = defaultdict(set)
    for accepted in history.told.accepted:
        named[accepted.key].add(accepted.run_id)
    for key, run_ids in named.items():
        if len(run_ids) > 1:
            yield f"key {key} made {len(run_ids)} runs: {', '.join(sorted(run_ids))}"
    known = {run_id for run_ids in named.values() for run_id in run_ids}
    for run in history.runs:
        if str(run.id) not in known:
            yield f"run {run.id} was never answered to anyone"


def nothing_is_stuck(history: History) -> Iterator[str]:
    """No row waits for somebody who will not come."""
    for run in history.runs:
        if run.status in OPEN_RUN_STATUSES:
            yield f"run {run.id} is {run.status}"
        elif run.lease_owner is not None:
            yield f"run {run.id} has ended and is leased by {run.lease_owner}"
    for job in history.jobs:
        if job.status in OPEN_JOB_STATUSES:
            yield f"job {job.id} is {job.status}"
        elif job.lease_owner is not None:
            yield f"job {job.id} has ended and is leased by {job.lease_owner}"
    for call in history.calls:
        if call.status in {"intent", "sent"}:
            yield f"call {call.id} is {call.status}"


def every_move_was_legal(history: History) -> Iterator[str]:
    """The events of a run have no gap, and its status and its jobs' moved as ``kroma.runs.states`` says."""
    events = _grouped(history.events, lambda event: event.run_id)
    jobs = _by_id(history.jobs)
    for run in history.runs:
        mine = events.get(run.id, [])
        for expected, event in enumerate(mine, 1):
            if event.seq != expected:
                yield f"run {run.id} has no event {expected}"
                break
        if len(mine) != run.revision:
            yield f"run {run.id} at revision {run.revision} has {len(mine)} events"
        moves = [event.data["status"] for event in mine if event.kind == "run" and "status" in event.data]
        yield from _illegal(f"run {run.id}", moves, RUN_MOVES, last=run.status)
    of_jobs = _grouped(
        (event for event in history.events if event.kind == "job"), lambda event: UUID(event.data["job_id"])
    )
    for job_id, mine in of_jobs.items():
        moves = ["queued", *(event.data["status"] for event in mine)]
        yield from _illegal(f"job {job_id}", _changes(moves), JOB_MOVES, last=jobs[job_id].status)


def no_step_was_applied_with_a_stale_fence(history: History) -> Iterator[str]:
    """Among the steps and calls of a job, later ones have no lower fence, and none a fence never given."""
    jobs = _by_id(history.jobs)
    for job_id, steps in _grouped(history.steps, lambda step: step.job_id).items():
        for earlier, later in pairwise(sorted(steps, key=lambda step: step.finished_at)):
            if later.fence < earlier.fence:
                yield (
                    f"job {job_id}: '{later.name}' with fence {later.fence} came after "
                    f"'{earlier.name}' with {earlier.fence}"
                )
        highest = max(step.fence for step in steps)
        if highest > jobs[job_id].fence:
            yield f"job {job_id} has fence {jobs[job_id].fence} and a step of {highest}"
    for (job_id, index), calls in _grouped_calls(history).items():
        for earlier, later in pairwise(calls):
            if later.fence < earlier.fence:
                yield f"job {job_id}: call {later.number} of candidate {index} has a lower fence than before"


def every_end_follows_from_the_jobs(history: History) -> Iterator[str]:
    """A run's end is the one that its jobs' ends make (design section 3)."""
    jobs = _grouped(history.jobs, lambda job: job.run_id)
    asked = {UUID(canceled.run_id) for canceled in history.told.canceled}
    for run in history.runs:
        if run.status in OPEN_RUN_STATUSES:
            continue
        if run.status == "canceled":
            if run.id not in asked:
                yield f"run {run.id} is canceled and nobody asked for it"
            continue
        expected = _end_of(jobs.get(run.id, []))
        if run.status != expected:
            yield f"run {run.id} is {run.status}; its jobs make it {expected}"


def every_job_that_is_done_has_its_picture(history: History) -> Iterator[str]:
    """A done job has a winner, the winner is a done candidate, and its file has a row."""
    candidates = {(row.job_id, row.candidate_index): row for row in history.candidates}
    runs = _by_id(history.runs)
    paths = {(asset.project_id, asset.rel_path) for asset in history.assets}
    for job in history.jobs:
        if job.status != "done":
            continue
        winner = candidates.get((job.id, job.selected_candidate_index or 0))
        if winner is None or winner.status != "done" or winner.output_path is None:
            yield f"job {job.id} is done without a winner that is"
        elif (runs[job.run_id].project_id, winner.output_path) not in paths:
            yield f"job {job.id}: no asset row for {winner.output_path}"
        elif job.final_output is None:
            yield f"job {job.id} is done without a final output"


def every_candidate_agrees_with_its_file(history: History) -> Iterator[str]:
    """Whatever a candidate names was kept; two candidates never share a file."""
    runs, jobs = _by_id(history.runs), _by_id(history.jobs)
    owners: dict[tuple[UUID, str], tuple[UUID, int]] = {}
    for row in history.candidates:
        if row.output_path is None:
            continue
        project_id = runs[jobs[row.job_id].run_id].project_id
        where = project_id, row.output_path
        if where not in history.files:
            yield f"candidate {row.candidate_index} of job {row.job_id}: {row.output_path} is missing"
        owner = owners.setdefault(where, (row.job_id, row.candidate_index))
        if owner != (row.job_id, row.candidate_index) and not _is_reused(history, row.job_id):
            yield f"{row.output_path} belongs to candidates of jobs {owner[0]} and {row.job_id}"


def files_rows_and_checksums_agree(history: History) -> Iterator[str]:
    """Every asset's file is there, is what its row says, and opens as a picture."""
    for asset in history.assets:
        facts = history.files.get((asset.project_id, asset.rel_path))
        if facts is None:
            yield f"{asset.rel_path} is missing"
            continue
        if facts.problem is not None:
            yield f"{asset.rel_path} is no picture: {facts.problem}"
        seen = {
            "sha256": (asset.sha256, facts.sha256),
            "size": (asset.size_bytes, facts.size_bytes),
            "width": (asset.width, facts.width),
            "height": (asset.height, facts.height),
        }
        for name, (row, file) in seen.items():
            if row is not None and file is not None and row != file:
                yield f"{asset.rel_path}: the row's {name} is {row}, the file's {file}"


def every_run_has_its_log(history: History) -> Iterator[str]:
    """The log of an ended run is in the store and says how it and its jobs ended."""
    jobs = _grouped(history.jobs, lambda job: job.run_id)
    for run in history.runs:
        if run.status in OPEN_RUN_STATUSES:
            continue
        log = history.logs.get(run.id)
        if log is None:
            yield f"run {run.id} has no log"
        elif log.get("status") != run.status:
            yield f"run {run.id} is {run.status}, its log says {log.get('status')}"
        elif len(log.get("jobs", [])) != len(jobs.get(run.id, [])):
            yield f"run {run.id}: its log has {len(log.get('jobs', []))} jobs"


def the_ledger_is_the_bill(history: History) -> Iterator[str]:
    """Every billed image is settled or unknown, and nothing is settled that was not billed."""
    billed = Counter(history.bills)
    calls = {str(call.id): call for call in history.calls}
    for key, times in billed.items():
        call = calls.get(key)
        if call is None:
            yield f"the provider billed {key}, which is in no ledger"
        elif call.status not in {"settled", "unknown"}:
            yield f"call {key} was billed and is {call.status}"
        if times > 1:
            yield f"call {key} was billed {times} times"
    for call in history.calls:
        if call.status == "settled" and str(call.id) not in billed:
            yield f"call {call.id} is settled and was never billed"


def no_candidate_was_paid_for_twice(history: History) -> Iterator[str]:
    """Of the calls for one candidate at most one was billed."""
    billed = set(history.bills)
    for (job_id, index), calls in _grouped_calls(history).items():
        paid = [call for call in calls if str(call.id) in billed]
        if len(paid) > 1:
            yield f"candidate {index} of job {job_id} was billed {len(paid)} times"


def a_rerun_pays_for_nothing_that_was_made(history: History) -> Iterator[str]:
    """What a run made is taken over by its rerun: no call is made for it."""
    runs = _by_id(history.runs)
    made = {(row.job_id, row.candidate_index) for row in history.candidates if row.status == "done"}
    named = {(job.run_id, job.job_key): job for job in history.jobs}
    for job in history.jobs:
        run = runs[job.run_id]
        origin = None if run.origin_run_id is None else named.get((run.origin_run_id, job.job_key))
        if run.origin_kind != "rerun" or origin is None:
            continue
        for call in history.calls:
            if call.job_id == job.id and (origin.id, call.candidate_index) in made:
                yield f"rerun {run.id} asked again for candidate {call.candidate_index} of {job.job_key}"


def only_refused_calls_have_a_next(history: History) -> Iterator[str]:
    """A call is followed by another for its candidate only when it was certainly not carried out."""
    for (job_id, index), calls in _grouped_calls(history).items():
        for earlier, _ in pairwise(calls):
            if earlier.status != "refused":
                yield f"candidate {index} of job {job_id} was asked for again after a {earlier.status} call"


def costs_are_the_settled_calls(history: History) -> Iterator[str]:
    """Per run, the cost events of paid providers sum up to what its settled calls cost."""
    settled: dict[UUID | None, Decimal] = defaultdict(Decimal)
    for call in history.calls:
        if call.status == "settled":
            settled[call.run_id] += call.cost_usd or NO_MONEY
    events: dict[UUID | None, Decimal] = defaultdict(Decimal)
    for cost in history.costs:
        events[cost.run_id] += cost.total_cost_usd
    for run_id in settled.keys() | events.keys():
        if settled[run_id] != events[run_id]:
            yield f"run {run_id}: settled calls cost {settled[run_id]}, cost events say {events[run_id]}"


def no_budget_was_passed(history: History) -> Iterator[str]:
    """What a project has spent, or may have, stays within its limit."""
    for project_id, limit in history.budgets.items():
        spent = sum(
            (
                (call.cost_usd if call.cost_usd is not None else call.price_usd) or NO_MONEY
                for call in history.calls
                if call.project_id == project_id and call.status in {"settled", "unknown", "sent"}
            ),
            NO_MONEY,
        )
        if spent > limit:
            yield f"project {project_id} spent {spent} of {limit}"


def nothing_was_sent_after_a_cancel(history: History) -> Iterator[str]:
    """Once a cancel is answered no call leaves, and the run ends canceled."""
    calls = _grouped(history.calls, lambda call: call.run_id)
    runs = _by_id(history.runs)
    for canceled in history.told.canceled:
        if canceled.status not in {"canceling", "canceled"}:
            continue
        run_id = UUID(canceled.run_id)
        if runs[run_id].status not in {"canceling", "canceled"}:
            yield f"run {run_id} was {canceled.status} and is {runs[run_id].status}"
        for call in calls.get(run_id, []):
            if call.sent_at is not None and call.sent_at > canceled.answered_at:
                yield f"call {call.id} left after the cancel of run {run_id} was answered"


RULES: Final[tuple[Callable[[History], Iterator[str]], ...]] = (
    every_answer_was_right,
    every_accepted_run_ended,
    every_key_made_one_run,
    nothing_is_stuck,
    every_move_was_legal,
    no_step_was_applied_with_a_stale_fence,
    every_end_follows_from_the_jobs,
    every_job_that_is_done_has_its_picture,
    every_candidate_agrees_with_its_file,
    files_rows_and_checksums_agree,
    every_run_has_its_log,
    the_ledger_is_the_bill,
    no_candidate_was_paid_for_twice,
    a_rerun_pays_for_nothing_that_was_made,
    only_refused_calls_have_a_next,
    costs_are_the_settled_calls,
    no_budget_was_passed,
    nothing_was_sent_after_a_cancel,
)


def _end_of(jobs: list[JobRow]) -> str:
    statuses = {job.status for job in jobs}
    if statuses & set(FAILED):
        return "failed"
    return "ok" if statuses and statuses <= {"done", "planned"} else "partial"


def _is_reused(history: History, job_id: UUID) -> bool:
    """Whether the job belongs to a run that takes over what another one made."""
    jobs, runs = _by_id(history.jobs), _by_id(history.runs)
    return runs[jobs[job_id].run_id].origin_kind is not None


def _changes(statuses: list[str]) -> list[str]:
    return [status for before, status in pairwise(["", *statuses]) if status != before]


def _illegal(what: str, moves: list[str], legal: Mapping[T, frozenset[T]], *, last: str) -> Iterator[str]:
    allowed = {str(before): {str(after) for after in afters} for before, afters in legal.items()}
    for before, after in pairwise(moves):
        if after not in allowed.get(before, set()):
            yield f"{what} went from {before} to {after}"
    if moves and moves[-1] != last:
        yield f"{what} is {last}; its last event says {moves[-1]}"


def _by_id(rows: Iterable[T]) -> dict[UUID, T]:
    return {row.id: row for row in rows}  # type: ignore[attr-defined]


def _grouped(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def _grouped_calls(history: History) -> dict[tuple[UUID | None, int], list[CallRow]]:
    calls = sorted(history.calls, key=lambda call: call.number)
    return _grouped(calls, lambda call: (call.job_id, call.candidate_index))
