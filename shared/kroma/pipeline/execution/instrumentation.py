"""What is logged and measured of work under way."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from kroma.errors import KromaError
from kroma.leases.claim import ClaimLostError
from kroma.leases.renewer import WorkStoppedError
from kroma.logs import REQUEST_ID
from kroma.metrics import STEP_SECONDS
from kroma.pipeline.execution.claim import JobClaim, RunClaim

log = structlog.get_logger(__name__)


@contextmanager
def job_context(claim: JobClaim | RunClaim) -> Generator[None]:
    """Puts run, job, attempt and the request that asked for it into every line of the block."""
    known: dict[str, Any] = {"run_id": str(claim.run_id), "attempt": claim.attempt}
    if isinstance(claim, JobClaim):
        known["job_id"] = str(claim.job_id)
    if claim.plan.request_id is not None:
        known[REQUEST_ID] = claim.plan.request_id
    with bound_contextvars(**known):
        yield


@contextmanager
def measured_step(step: str) -> Generator[None]:
    """Times a step and says in one line how it ended."""
    began = perf_counter()
    outcome, problem = "done", {}
    try:
        yield
    except (asyncio.CancelledError, WorkStoppedError, ClaimLostError):
        outcome = "stopped"
        raise
    except KromaError as exc:
        outcome, problem = "failed", {"error_code": exc.code}
        raise
    except Exception:
        outcome = "crashed"
        raise
    finally:
        took_s = perf_counter() - began
        STEP_SECONDS.labels(step, outcome).observe(took_s)
        log.info("step", step=step, outcome=outcome, duration_ms=round(took_s * 1000, 1), **problem)
