"""Looking after paid calls whose worker was lost."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from kroma.db.connection_errors import DATABASE_TROUBLE
from kroma.ledger.reaper import Reconciler, reap_calls
from kroma.pipeline.execution.found_answers import answer_finder
from kroma.pipeline.execution.late_answers import LateAnswers
from kroma.pipeline.execution.wiring import WorkerContext

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = timedelta(seconds=5)


async def look_after_calls(context: WorkerContext) -> None:
    """End what nobody will end, and ask about what is unknown, until canceled."""
    reconciler = Reconciler(
        context.db,
        context.providers,
        find_answer=answer_finder(context.db, context.stores),
        find_access=context.load_access,
    )
    late = LateAnswers(context.db, context.stores, context.scheduler.left)
    while True:
        try:
            reaped = await reap_calls(context.db)
            if any(reaped):
                log.warning("ledger.calls_reaped", **reaped._asdict())
            if await reconciler.reconcile():
                late.search_soon()
            await late.write_down()
        except DATABASE_TROUBLE as exc:
            log.warning("ledger.database_unavailable", error=type(exc).__name__)
        except Exception:
            log.exception("ledger.not_looked_after")
        await asyncio.sleep(LOOK_EVERY.total_seconds())
