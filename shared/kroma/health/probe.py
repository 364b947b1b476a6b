"""Asking the parts of an installation how they are, so that neither a slow part nor a frequent asker hurts.

A part is asked at most once at a time. Whoever asks meanwhile waits for the same answer, though no longer
than its time limit; for a moment afterwards the last answer stands.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import monotonic, perf_counter
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from kroma.errors import NotOneOfError
from kroma.old_names import current_name

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S: Final = 2.0
GIVEN_UP_AFTER_S: Final = 15.0
"""A question without an answer is dropped and asked anew: its connection may have lost the other side."""
STANDS_FOR_S: Final = 1.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One part, looked at."""

    name: Annotated[str, Meta(examples=["database"])]
    """`database`, `migrations`, `queue`, `store` or `worker`."""
    ok: bool
    detail: Annotated[str, Meta(examples=["answers"])]
    """What was found; never where."""
    ms: Annotated[float, Meta(examples=[0.7])]
    """How long the part took to answer."""


class NotWellError(Exception):
    """What a part lacks, in words that anyone may read."""


Ask = Callable[[], AsyncIterator[Check]]
"""Looks at one part, or at several that stand on each other."""


async def look_at(name: str, look: Awaitable[str], trouble: tuple[type[Exception], ...] = ()) -> Check:
    """The check of one part.

    Args:
        look: Says what it found, or raises ``NotWellError``.
        trouble: What else it may raise; only the kind of it is shown.
    """
    began = perf_counter()
    try:
        detail, ok = await look, True
    except NotWellError as exc:
        detail, ok = str(exc), False
    except trouble as exc:
        detail, ok = f"fails: {type(exc).__name__}", False
    return Check(name=name, ok=ok, detail=detail, ms=round((perf_counter() - began) * 1000, 1))


class Probe:
    """Parts that are asked together."""

    def __init__(
        self,
        names: Sequence[str],
        ask: Ask,
        *,
        stands_for_s: float = STANDS_FOR_S,
        answer_within_s: float = ANSWER_WITHIN_S,
        given_up_after_s: float = GIVEN_UP_AFTER_S,
    ) -> None:
        """Ask nothing yet.

        Args:
            names: Of the checks that ``ask`` makes, in its order.
            ask: Makes them.
            stands_for_s: How long an answer without a failure stands; one with a failure, a second.
            answer_within_s: The time limit of an answer.
            given_up_after_s: After how long a question without an answer is asked again.
        """
        self.names = tuple(names)
        self._ask = ask
        self._stands_for_s = stands_for_s
        self._answer_within_s = answer_within_s
        self._given_up_after_s = given_up_after_s
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._found: dict[str, Check] = {}
        self._dropped: set[asyncio.Task[None]] = set()

    async def checks(self) -> list[Check]:
        asking = self._current()
        left = self._asked_at + self._answer_within_s - monotonic()
        if not asking.done() and left > 0:
            await asyncio.wait({asking}, timeout=left)
        return [self._found.get(name) or self._silent(name) for name in self.names]

    def _current(self) -> "asyncio.Task[None]":
        age = monotonic() - self._asked_at
        asking = self._asking
        if asking is not None and not asking.done() and age < self._given_up_after_s:
            return asking
        if asking is not None and asking.done() and age < self._stands_s():
            return asking
        if asking is not None and not asking.done():
            self._dropped.add(asking)
            asking.add_done_callback(self._dropped.discard)
            asking.cancel()
        found: dict[str, Check] = {}
        self._found, self._asked_at = found, monotonic()
        self._asking = asyncio.create_task(self._look(found))
        return self._asking

    def _stands_s(self) -> float:
        well = all(name in self._found and self._found[name].ok for name in self.names)
        return self._stands_for_s if well else STANDS_FOR_S

    async def _look(self, found: dict[str, Check]) -> None:
        try:
            async for check in self._ask():
                found[check.name] = check
        except Exception:
            log.exception("health.check_crashed", checks=self.names)

    def _silent(self, name: str) -> Check:
        detail = f"did not answer within {self._answer_within_s:g} s"
        return Check(name=name, ok=False, detail=detail, ms=self._answer_within_s * 1000)


class Readiness:
    """All checks of a process."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self.names: Final = tuple(name for probe in probes for name in probe.names)

    async def checks(self, *, without: str | None = None) -> list[Check]:
        """The checks in their order.

        Args:
            without: Names to leave out, with commas between them.

        Raises:
            NotOneOfError: ``without`` names what is no check.
        """
        left_out = {current_name(name.strip()) for name in (without or "").split(",")} - {""}
        if not left_out <= set(self.names):
            raise NotOneOfError("without", self.names)
        asked = [probe for probe in self._probes if not left_out.issuperset(probe.names)]
        found = await asyncio.gather(*(probe.checks() for probe in asked))
        return [check for checks in found for check in checks if check.name not in left_out]
