"""Paid calls that belong to no project: one-off tools.

They pass the gate of all projects, so limits, pace and circuit hold for them as for runs, and each is
committed before it leaves. There is no job that could be taken over: a call whose answer is lost is told
by its id and waits for a person, and the same order is not sent again until then. No project's budget
holds them.
"""

import asyncio
import random
from datetime import timedelta
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.audit import service as audit
from kroma.config import ProviderLimits
from kroma.db.engine import Database
from kroma.db.reader import Reader
from kroma.errors import KromaError
from kroma.ledger import outcomes
from kroma.ledger import provider_limits as gates
from kroma.ledger.admission import MAX_WAIT
from kroma.ledger.answers import charge_of, to_the_end
from kroma.ledger.errors import AnswerUnknownError, ProviderBusyError, RetriesSpentError
from kroma.ledger.models import CallStatus, ProviderCall
from kroma.ledger.outcomes import Answer, Verdict
from kroma.metrics import PROVIDER_COST, CallWatch
from kroma.providers.base import (
    AnswerUnusableError,
    EditRequest,
    EditResult,
    Provider,
    ProviderRefusedError,
)

LONGEST_PAUSE: Final = timedelta(milliseconds=500)


class BoughtPicture(NamedTuple):
    """What a call brought."""

    result: EditResult
    """With its cost, where that is known."""
    call_id: UUID


class ToolCalls:
    """Makes the paid calls of one use of a tool."""

    def __init__(
        self, db: Database, provider: Provider, *, limits: ProviderLimits, actor: UUID | None = None
    ) -> None:
        """Make what a tool calls with.

        Args:
            provider: Whose calls cost money.
            limits: For all workers and tools together.
        """
        self._db = db
        self._provider = provider
        self._limits = limits
        self._actor = actor

    async def edit(self, request: EditRequest, *, call_key: str, operation: str) -> BoughtPicture:
        """Buy one picture; clean refusals that may pass are tried again, as often as runs do.

        Args:
            call_key: What is bought, as a text that is the same for the same order.
            operation: What the ledger calls it.

        Raises:
            CallLaterError: Not now: the provider is paused, looks dead, is busy or asked for patience.
            AnswerUnknownError: The answer is lost, or that of the same order before was.
            AnswerUnusableError: Charged, and no picture.
            ProviderRefusedError: Refused for good.
            RetriesSpentError: Refused as often as the limit allows.
        """
        await self._check_known(call_key)
        for refusals in range(1, self._limits.retries + 2):
            call, permit = await self._send(request, call_key, refusals, operation)
            try:
                return await self._answer(request, call, permit)
            except ProviderRefusedError as exc:
                if not exc.retryable:
                    raise
                pause = exc.retry_after or timedelta(seconds=2 ** (refusals - 1) * random.random())  # noqa: S311 - spreads load
                if refusals > self._limits.retries or pause > MAX_WAIT:
                    raise RetriesSpentError(exc.message, calls=refusals) from exc
            await asyncio.sleep(pause.total_seconds())
        raise AssertionError

    async def _check_known(self, call_key: str) -> None:
        """Refuse an order whose answer was lost before, until a person has said what became of it."""
        statement = (
            select(ProviderCall.id)
            .where(
                ProviderCall.project_id.is_(None),
                ProviderCall.provider_code == self._provider.code,
                ProviderCall.job_key == call_key,
                or_(
                    ProviderCall.status == CallStatus.UNKNOWN,
                    and_(
                        ProviderCall.status == CallStatus.SENT,
                        ProviderCall.sent_at < func.clock_timestamp() - gates.LONGEST_CALL,
                    ),
                ),
            )
            .limit(1)
        )
        async with self._db.transaction() as session:
            lost = await session.scalar(statement)
        if lost is not None:
            raise AnswerUnknownError(self._provider.code, lost)

    async def _send(
        self, request: EditRequest, call_key: str, number: int, operation: str
    ) -> tuple[ProviderCall, gates.Permit]:
        """Wait for the gates, commit the call; only then it may leave."""
        until = monotonic() + MAX_WAIT.total_seconds()
        while True:
            async with self._db.transaction() as session:
                state = await self._lock_gate_state(session)
                hindrance = gates.blocking_reason(state, self._provider.code, self._limits, own_address=False)
                if hindrance is None:
                    permit = await gates.grant(
                        session, state, self._provider.code, None, self._limits, own_address=False
                    )
                    call = self._call(request, call_key, number, operation, permit)
                    session.add(call)
                    await session.flush()
                    await self._audit(session, call)
                    return call, permit
            left = timedelta(seconds=until - monotonic())
            if hindrance.wait > left or hindrance.is_of_no_use:
                raise hindrance
            if left < timedelta():
                raise ProviderBusyError(self._provider.code, limit=self._limits.concurrency)
            await asyncio.sleep(min(max(hindrance.wait, LONGEST_PAUSE / 5), LONGEST_PAUSE).total_seconds())

    async def _lock_gate_state(self, session: AsyncSession) -> gates.GateState:
        raw = await (await session.connection()).get_raw_connection()
        await gates.lock_gates(session, Reader(raw.driver_connection), self._provider.code, None)
        # Only a statement that begins after the lock sees what others did before they let go.
        return await gates.see_for_tool(session, self._provider.code)

    def _call(
        self, request: EditRequest, call_key: str, number: int, operation: str, permit: gates.Permit
    ) -> ProviderCall:
        return ProviderCall(
            id=uuid4(),
            project_id=None,
            job_key=call_key,
            candidate_index=request.candidate_index,
            number=number,
            fence=0,
            provider_code=self._provider.code,
            model_name=request.model or "",
            operation=operation,
            status=CallStatus.SENT,
            sent_at=permit.sent_at,
            price_usd=self._provider.estimate(request),
        )

    async def _audit(self, session: AsyncSession, call: ProviderCall) -> None:
        payload: dict[str, Any] = {
            "provider_call_id": str(call.id),
            "provider_code": call.provider_code,
            "operation": call.operation,
            "price_usd": None if call.price_usd is None else str(call.price_usd),
        }
        await audit.record(session, code="tool.call", project_id=None, actor=self._actor, payload=payload)

    async def _answer(self, request: EditRequest, call: ProviderCall, permit: gates.Permit) -> BoughtPicture:
        task = asyncio.ensure_future(self._carry(request, call, permit))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Nobody waits any more: what may have been charged is written off before this ends.
            task.cancel()
            await asyncio.wait((task,))
            raise

    async def _carry(self, request: EditRequest, call: ProviderCall, permit: gates.Permit) -> BoughtPicture:
        called = CallWatch(self._provider.code, request.model)
        try:
            result = await self._provider.edit(msgspec.structs.replace(request, call_id=call.id))
        except ProviderRefusedError as exc:
            called.ended("refused")
            await to_the_end(self._note_refusal(call, exc, permit))
            raise
        except AnswerUnusableError as exc:
            called.ended("unusable")
            answer = charge_of(exc, call.price_usd)
            exc.call_id, exc.cost_usd = call.id, answer.cost_usd
            await to_the_end(self._settle(call, answer, Verdict(error=exc.message, error_code=exc.code)))
            raise
        except BaseException as exc:
            called.ended("unknown")
            await to_the_end(self._note_loss(call, exc, permit))
            raise AnswerUnknownError(self._provider.code, call.id) from exc
        called.ended("answered")
        answer = charge_of(result, call.price_usd)
        await to_the_end(self._settle(call, answer))
        return BoughtPicture(msgspec.structs.replace(result, cost_usd=answer.cost_usd), call.id)

    async def _settle(self, call: ProviderCall, answer: Answer, verdict: Verdict = outcomes.FINE) -> None:
        async def write(session: AsyncSession) -> bool:
            moved = await outcomes.settle(session, call.id, answer, verdict)
            await gates.note_answer(session, self._provider.code, None, own_address=False)
            return moved

        moved = await outcomes.write_persistently(self._db, write)
        if moved and answer.cost_usd is not None:
            PROVIDER_COST.labels(self._provider.code, call.model_name).inc(float(answer.cost_usd))

    async def _note_refusal(
        self, call: ProviderCall, refusal: ProviderRefusedError, permit: gates.Permit
    ) -> None:
        code = self._provider.code

        async def write(session: AsyncSession) -> None:
            verdict = Verdict(error=refusal.message, error_code=refusal.code)
            await outcomes.refuse(session, call.id, verdict)
            if refusal.is_down:
                await gates.note_failure(session, code, None, own_address=False, is_probe=permit.is_probe)
            else:
                await gates.note_answer(session, code, None, own_address=False)

        await outcomes.write_persistently(self._db, write)

    async def _note_loss(self, call: ProviderCall, cause: BaseException, permit: gates.Permit) -> None:
        named = cause.message if isinstance(cause, KromaError) else type(cause).__name__

        async def write(session: AsyncSession) -> None:
            await outcomes.lose(session, call.id, reason=f"No answer: {named}")
            if isinstance(cause, Exception):
                await gates.note_failure(
                    session, self._provider.code, None, own_address=False, is_probe=permit.is_probe
                )

        await outcomes.write_persistently(self._db, write)
