"""How the statuses of runs, jobs and candidates move; ``kroma.ledger.states`` has those of calls.

::

    run        queued -> running -> ok | partial | failed | canceled
               queued | running -> canceling -> canceled
               queued -> canceled
    job        planned (dry, stays)
               queued -> running -> done | failed_output_guard | failed | canceled
               running -> queued (tried again later, or its worker stopped)
               queued -> canceled
    candidate  planned (dry, stays)
               generated -> done | failed_output_guard
               failed (its call gave no picture)

Every write of ours names the status and the fence it expects (``UPDATE ... WHERE status = ... AND
fence = ...``). Behind that, triggers of the database refuse any other move of a run or a job, and a
fence that falls, whoever asks (migration 0005; a test holds them against these tables).
"""

from collections.abc import Mapping
from typing import Final

from kroma.runs.models import JobStatus, RunStatus

RUN_MOVES: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.CANCELING, RunStatus.CANCELED}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.CANCELING, RunStatus.OK, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELED}
    ),
    RunStatus.CANCELING: frozenset({RunStatus.CANCELED}),
}
"""Legal moves; a status that is no key is an end."""

JOB_MOVES: Final[Mapping[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED}),
    JobStatus.RUNNING: frozenset(
        {
            JobStatus.QUEUED,
            JobStatus.DONE,
            JobStatus.FAILED_OUTPUT_GUARD,
            JobStatus.FAILED,
            JobStatus.CANCELED,
        }
    ),
}
"""Legal moves; a status that is no key is an end."""
