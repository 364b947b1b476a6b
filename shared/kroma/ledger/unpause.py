"""A new key or address lets the jobs go on that the old one brought to a stand."""

from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.ledger.provider_limits import resume_provider
from kroma.queue.base import TaskQueue
from kroma.queue.errors import QueueUnavailableError
from kroma.queue.messages import ExecuteJob

log = structlog.get_logger(__name__)


class Unpause:
    """One change: ``lift`` within its transaction, ``notify`` once it is committed."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue
        self._messages: list[ExecuteJob] = []

    async def lift(self, session: AsyncSession, project_id: UUID, code: str) -> None:
        """Lift the pause of a provider; implements ``kroma.secrets.on_access_change.AccessChanged``."""
        self._messages = [ExecuteJob(job_id=job) for job in await resume_provider(session, project_id, code)]

    async def notify(self) -> None:
        """Notify workers of the jobs; while the queue is down, the sweep finds them."""
        if not self._messages:
            return
        try:
            await self._queue.enqueue_many(self._messages)
        except QueueUnavailableError:
            log.warning("resume.bell_down", jobs=len(self._messages))
