"""Every rule of the chaos checker holds for a good history and sees the fault it is there for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest

from chaos.checker import RULES, findings
from chaos.customers import Accepted, Canceled, Told
from chaos.history import (
    AssetRow,
    CallRow,
    CandidateRow,
    CostRow,
    EventRow,
    FileFacts,
    History,
    JobRow,
    RunRow,
    StepRow,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PROJECT, RUN, JOB, CALL = (UUID(int=number) for number in range(1, 5))
PICTURE = "outputs/run/style_1_harbor__c1.png"
LOG = "runs/run_2.json"

change = msgspec.structs.replace


def good() -> History:
    """One run of one job with one paid candidate, its worker lost once."""
    moves = [
        ("run", {"status": "queued"}),
        ("run", {"status": "running"}),
        ("job", {"job_id": str(JOB), "status": "running"}),
        ("job", {"job_id": str(JOB), "status": "done"}),
        ("run", {"status": "ok"}),
    ]
    return History(
        runs=[RunRow(id=RUN, project_id=PROJECT, status="ok", run_mode="run", revision=5, run_log_path=LOG)],
        jobs=[
            JobRow(
                id=JOB,
                run_id=RUN,
                job_key="style_1_harbor",
                status="done",
                fence=2,
                selected_candidate_index=1,
                final_output=PICTURE,
            )
        ],
        candidates=[CandidateRow(job_id=JOB, candidate_index=1, status="done", output_path=PICTURE)],
        steps=[
            StepRow(job_id=JOB, name="generate/1", fence=1, finished_at=NOON),
            StepRow(job_id=JOB, name="rank", fence=2, finished_at=NOON + timedelta(seconds=40)),
        ],
        events=[
            EventRow(run_id=RUN, seq=seq, kind=kind, data=data) for seq, (kind, data) in enumerate(moves, 1)
        ],
        calls=[
            CallRow(
                id=CALL,
                project_id=PROJECT,
                status="settled",
                run_id=RUN,
                job_id=JOB,
                price_usd=Decimal("0.04"),
                cost_usd=Decimal("0.05"),
                sent_at=NOON,
            )
        ],
        assets=[
            AssetRow(
                project_id=PROJECT,
                rel_path=PICTURE,
                kind="candidate_output",
                sha256="ab",
                size_bytes=9,
                width=4,
                height=3,
            )
        ],
        costs=[
            CostRow(project_id=PROJECT, run_id=RUN, provider_code="openai", total_cost_usd=Decimal("0.05"))
        ],
        budgets={PROJECT: Decimal("0.05")},
        files={(PROJECT, PICTURE): FileFacts(sha256="ab", size_bytes=9, width=4, height=3)},
        logs={RUN: {"status": "ok", "jobs": [{}]}},
        bills=[str(CALL)],
        told=Told(accepted=[Accepted(key="k", run_id=str(RUN), kind="trigger", house=0)] * 2),
    )


def test_no_rule_finds_fault_with_a_run_whose_worker_was_lost_and_replaced() -> None:
    assert findings(good()) == []


def _accept(history: History, key: str, run: UUID) -> None:
    history.told.accepted = [
        *history.told.accepted,
        Accepted(key=key, run_id=str(run), kind="trigger", house=0),
    ]


def _canceled(history: History, answered_at: datetime) -> None:
    history.told.canceled = [
        Canceled(run_id=str(RUN), asked_at=NOON, answered_at=answered_at, status="canceling")
    ]


def _run(history: History, **changes: object) -> None:
    history.runs[0] = change(history.runs[0], **changes)


def _job(history: History, **changes: object) -> None:
    history.jobs[0] = change(history.jobs[0], **changes)


def _call(history: History, **changes: object) -> None:
    history.calls[0] = change(history.calls[0], **changes)


def _second_call(history: History, **changes: object) -> None:
    history.calls.append(change(history.calls[0], id=UUID(int=9), number=2, fence=2, **changes))


def _file(history: History, **changes: object) -> None:
    history.files[PROJECT, PICTURE] = change(history.files[PROJECT, PICTURE], **changes)


def _stale(history: History) -> None:
    """A step of the lost worker, written after its successor's."""
    history.steps = [
        StepRow(job_id=JOB, name="generate/1", fence=2, finished_at=NOON),
        StepRow(job_id=JOB, name="rank", fence=1, finished_at=NOON + timedelta(seconds=1)),
    ]


def _paid_rerun(history: History) -> None:
    """A rerun that asked for the same candidate once more."""
    run, job = UUID(int=10), UUID(int=11)
    history.runs.append(change(history.runs[0], id=run, origin_run_id=RUN, origin_kind="rerun"))
    history.jobs.append(change(history.jobs[0], id=job, run_id=run))
    history.calls.append(change(history.calls[0], id=UUID(int=12), run_id=run, job_id=job))


FAULTS: list[tuple[str, Callable[[History], object]]] = [
    ("every_answer_was_right", lambda it: it.told.complain("POST was answered 418")),
    ("every_accepted_run_ended", lambda it: _accept(it, "lost", UUID(int=7))),
    ("every_accepted_run_ended", lambda it: _run(it, status="running")),
    ("every_key_made_one_run", lambda it: _accept(it, "k", UUID(int=7))),
    ("every_key_made_one_run", lambda it: it.told.accepted.clear()),
    ("nothing_is_stuck", lambda it: _job(it, status="queued")),
    ("nothing_is_stuck", lambda it: _job(it, lease_owner="worker-1")),
    ("nothing_is_stuck", lambda it: _run(it, lease_owner="worker-1")),
    ("nothing_is_stuck", lambda it: _call(it, status="sent")),
    ("every_move_was_legal", lambda it: it.events.pop(2)),
    ("every_move_was_legal", lambda it: _run(it, status="failed")),
    (
        "every_move_was_legal",
        lambda it: it.events.append(EventRow(run_id=RUN, seq=6, kind="run", data={"status": "running"})),
    ),
    ("no_step_was_applied_with_a_stale_fence", _stale),
    ("no_step_was_applied_with_a_stale_fence", lambda it: _job(it, fence=1)),
    ("every_end_follows_from_the_jobs", lambda it: _job(it, status="failed")),
    ("every_end_follows_from_the_jobs", lambda it: _run(it, status="canceled")),
    ("every_job_that_is_done_has_its_picture", lambda it: _job(it, selected_candidate_index=2)),
    ("every_job_that_is_done_has_its_picture", lambda it: it.assets.clear()),
    ("every_candidate_agrees_with_its_file", lambda it: it.files.clear()),
    ("files_rows_and_checksums_agree", lambda it: _file(it, sha256="cd")),
    ("files_rows_and_checksums_agree", lambda it: _file(it, problem="truncated")),
    ("every_run_has_its_log", lambda it: it.logs.clear()),
    ("every_run_has_its_log", lambda it: it.logs.update({RUN: {"status": "failed", "jobs": [{}]}})),
    ("the_ledger_is_the_bill", lambda it: it.bills.append(str(UUID(int=8)))),
    ("the_ledger_is_the_bill", lambda it: it.bills.append(str(CALL))),
    ("the_ledger_is_the_bill", lambda it: _call(it, status="refused")),
    ("the_ledger_is_the_bill", lambda it: it.bills.clear()),
    (
        "no_candidate_was_paid_for_twice",
        lambda it: (_second_call(it), it.bills.append(str(UUID(int=9)))),
    ),
    ("a_rerun_pays_for_nothing_that_was_made", _paid_rerun),
    ("only_refused_calls_have_a_next", _second_call),
    ("costs_are_the_settled_calls", lambda it: it.costs.append(it.costs[0])),
    ("no_budget_was_passed", lambda it: it.budgets.update({PROJECT: Decimal("0.049")})),
    ("nothing_was_sent_after_a_cancel", lambda it: _canceled(it, NOON - timedelta(seconds=1))),
    ("nothing_was_sent_after_a_cancel", lambda it: _canceled(it, NOON + timedelta(seconds=1))),
]


@pytest.mark.parametrize(
    ("rule", "spoil"), [pytest.param(*fault, id=f"{fault[0]}-{n}") for n, fault in enumerate(FAULTS)]
)
def test_a_rule_sees_its_fault(rule: str, spoil: Callable[[History], object]) -> None:
    history = good()
    spoil(history)

    assert any(line.startswith(f"{rule}: ") for line in findings(history))


def test_every_rule_is_tried() -> None:
    assert {rule.__name__ for rule in RULES} == {name for name, _ in FAULTS}
