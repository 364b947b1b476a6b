"""Signs that a worker's own loops go on."""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Final

from kroma.health.components import WORKER
from kroma.health.probe import Check, NotWellError, Probe, look_at
from kroma.leases.renewer import LeaseRenewer
from kroma_worker.slots import WorkerSlots

SILENT_AFTER_S: Final = 15.0
"""Both loops have something to do every second; a slow database holds them up a while."""


class Liveness:
    """When the worker last looked for work, and what it is working on."""

    def __init__(self) -> None:
        self._beat_at: float | None = None

    def beat(self) -> None:
        self._beat_at = monotonic()

    def probe(self, slots: WorkerSlots, renewer: LeaseRenewer) -> Probe:
        """Whether it looks for work and renews its leases."""

        async def look() -> str:
            now = monotonic()
            if self._beat_at is None:
                raise NotWellError("has not begun to look for work")
            if now - self._beat_at > SILENT_AFTER_S:
                raise NotWellError(f"has not looked for work for {now - self._beat_at:.0f} s")
            if renewer.answered_at is not None and now - renewer.answered_at > SILENT_AFTER_S:
                raise NotWellError(f"has not renewed its leases for {now - renewer.answered_at:.0f} s")
            return f"looks for work, {slots.busy} of {slots.slots} slots busy"

        async def ask() -> AsyncIterator[Check]:
            yield await look_at(WORKER, look())

        return Probe((WORKER,), ask)
