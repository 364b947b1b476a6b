"""Deleting kept answers whose week is over."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from kroma.idempotency.answers import answer_files, sweep_files
from kroma.storage.base import ProjectStores

log = structlog.get_logger(__name__)

SWEEP_EVERY: Final = timedelta(hours=1)


async def sweep_answers_for_ever(stores: ProjectStores) -> None:
    """Sweep now and every hour, until canceled; a store that is away is asked again later."""
    while True:
        try:
            if count := await sweep_files(answer_files(stores)):
                log.info("answers.swept", count=count)
        except Exception:
            log.exception("answers.not_swept")
        await asyncio.sleep(SWEEP_EVERY.total_seconds())
