"""Sending a leased instruction to its agent and writing down what came of it."""

import asyncio
import random
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import AgentOptions
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions import events
from kroma.instructions.echoes import Echoes
from kroma.instructions.lease import Lease, take_lease
from kroma.instructions.models import AgentInstruction, InstructionStatus
from kroma.instructions.report import AgentReport
from kroma.instructions.signature import CALLBACK_PATH, CallbackSigner, Pass
from kroma.instructions.target import SecretReader
from kroma.leases.claim import held_by, unchanged
from kroma.outbound.client import OutboundClient
from kroma.outbound.errors import OutboundError, UrlRefusedError

log = structlog.get_logger(__name__)

TYPE: Final = "agent_instruction"
JITTER: Final = 0.2
"""A retry waits up to this share longer, so that instructions that failed together part ways."""
_ERROR_CHARACTERS: Final = 500
_TOO_MANY_REQUESTS: Final = 429
_FIRST_SERVER_ERROR: Final = 500


class Answer(msgspec.Struct, frozen=True):
    """A 2xx reply, read."""

    http_status: int
    report: AgentReport


class Failure(msgspec.Struct, frozen=True):
    """An attempt without a 2xx reply."""

    error: str
    is_retryable: bool


class Dispatcher:
    """Carries instructions to agents."""

    def __init__(
        self,
        *,
        db: Database,
        client: OutboundClient,
        options: AgentOptions,
        public_url: str,
        signer: CallbackSigner,
        read_secret: SecretReader,
    ) -> None:
        self.options = options
        self._db = db
        self._client = client
        self._public_url = public_url
        self._signer = signer
        self._read_secret = read_secret

    async def dispatch(self, instruction_id: UUID, *, worker: str) -> timedelta | None:
        """Make one attempt, if the instruction is due and free.

        Returns:
            How long to wait before the next attempt; None when there is none to make.
        """
        lease = await take_lease(
            self._db, instruction_id, worker=worker, options=self.options, read_secret=self._read_secret
        )
        if lease is None:
            return None
        outcome = await self._send(lease)
        async with self._db.transaction() as session:
            if isinstance(outcome, Answer):
                await _write_answer(session, lease, outcome)
                return None
            return await _write_failure(session, lease, outcome, backoff=self.options.retry_backoff)

    async def _send(self, lease: Lease) -> Answer | Failure:
        """Try, and try again in passing what may be retried."""
        signature = self._signer.signature(
            Pass(instruction_id=lease.instruction_id, attempt=lease.attempt, fence=lease.fence),
            valid_until=lease.deadline_at,
        )
        body = msgspec.json.encode(self._envelope(lease, signature))
        headers = {"Idempotency-Key": f"{lease.instruction_id}-{lease.fence}"}
        if lease.target.token is not None:
            headers["Authorization"] = f"Bearer {lease.target.token}"
        echoes = Echoes.of(lease.target.url, lease.target.token, signature)
        number = 1
        while True:
            outcome = await self._try(lease, body, headers, echoes=echoes)
            if isinstance(outcome, Answer) or not outcome.is_retryable or number > self.options.retries:
                return outcome
            await asyncio.sleep((self.options.retry_pause * number).total_seconds())
            if not await self._is_wanted(lease):
                return outcome
            number += 1

    async def _try(
        self, lease: Lease, body: bytes, headers: dict[str, str], *, echoes: Echoes
    ) -> Answer | Failure:
        try:
            reply = await self._client.post_json(
                lease.target.url, body, headers=headers, limit=self.options.timeout
            )
        except (OutboundError, UrlRefusedError) as exc:
            return Failure(f"{exc.code}: {exc.message}", is_retryable=exc.retryable)
        if reply.is_success:
            return Answer(reply.status, AgentReport.of_reply(reply.body, echoes=echoes))
        text = reply.body[: 4 * _ERROR_CHARACTERS].decode(errors="replace").replace("\0", "")
        return Failure(
            f"http_{reply.status}:{echoes.hide(text)[:_ERROR_CHARACTERS]}",
            is_retryable=reply.status == _TOO_MANY_REQUESTS or reply.status >= _FIRST_SERVER_ERROR,
        )

    async def _is_wanted(self, lease: Lease) -> bool:
        async with self._db.transaction() as session:
            return await session.scalar(select(AgentInstruction.id).where(*_held(lease))) is not None

    def _envelope(self, lease: Lease, signature: str) -> dict[str, Any]:
        return {
            "instruction_id": str(lease.instruction_id),
            "project_slug": lease.project_slug,
            "instruction_type": TYPE,
            "objective": lease.instruction_text,
            "payload": {"instruction_text": lease.instruction_text},
            "constraints": {},
            "inputs": {},
            "execution": {
                "attempt": lease.attempt,
                "max_attempts": lease.max_attempts,
                "deadline_at": lease.deadline_at,
            },
            "confirmation_required": False,  # a person has confirmed it
            "requested_by": lease.requested_by,
            "callback": {
                "url": f"{self._public_url}{CALLBACK_PATH}/{lease.instruction_id}?sig={signature}",
                "method": "POST",
                "valid_until": lease.deadline_at,
            },
        }


def _running(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        *unchanged(AgentInstruction, row_id=lease.instruction_id, fence=lease.fence),
        AgentInstruction.status == InstructionStatus.RUNNING,
    )


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    # A callback takes the lease away: then the agent is alive whatever the connection did.
    return (
        *held_by(AgentInstruction, row_id=lease.instruction_id, fence=lease.fence, worker=lease.worker),
        AgentInstruction.status == InstructionStatus.RUNNING,
    )


async def _lock(
    session: AsyncSession, lease: Lease, *conditions: ColumnElement[bool]
) -> AgentInstruction | None:
    row = await session.scalar(select(AgentInstruction).where(*conditions).with_for_update())
    if row is None:
        log.info("instruction.outcome_dropped", instruction_id=str(lease.instruction_id))
    return row


async def _write_answer(session: AsyncSession, lease: Lease, answer: Answer) -> None:
    row = await _lock(session, lease, *_running(lease))
    if row is None:
        return
    answer.report.move(row)
    text = events.result_text(answer.report.word, attempts=row.attempt, http_status=answer.http_status)
    events.add_event(session, row, events.RESULT, text)


async def _write_failure(
    session: AsyncSession, lease: Lease, failure: Failure, *, backoff: timedelta
) -> timedelta | None:
    row = await _lock(session, lease, *_held(lease))
    if row is None:
        return None
    if not failure.is_retryable or lease.attempt >= lease.max_attempts:
        fail(session, row, failure.error)
        return None
    wait = backoff * lease.attempt * (1 + JITTER * random.random())  # noqa: S311 - spreads load
    row.status = InstructionStatus.CONFIRMED
    row.release()
    row.available_at = utc_now() + wait
    row.last_error = failure.error
    events.add_event(
        session,
        row,
        events.RETRY_SCHEDULED,
        events.failure_text(
            failure.error,
            attempts=row.attempt,
            max_attempts=row.max_attempts,
            next_attempt_at=row.available_at,
        ),
    )
    return wait


def fail(session: AsyncSession, row: AgentInstruction, error: str) -> None:
    """End an instruction without a result."""
    row.status = InstructionStatus.FAILED
    row.release()
    row.available_at = row.deadline_at = None
    row.last_error = error
    text = events.failure_text(error, attempts=row.attempt, max_attempts=row.max_attempts)
    events.add_event(session, row, events.ERROR, text)
