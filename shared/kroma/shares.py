"""Limited things, shared in turn between callers: docs/decisions/0032.

A share key says whose request or job it is: a token, a project, or nobody. Whoever starts work for a caller
sets it once, in ``current_share``; what is limited asks a ``TurnQueue`` and needs no further argument.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Final
from uuid import UUID

current_share: Final[ContextVar[str]] = ContextVar("current_share", default="")
"""The share key of the current request or job; empty for work of Kroma's own."""

ANONYMOUS: Final = "anonymous"
"""All callers without a token have one share between them."""


def token_share(token_id: UUID) -> str:
    """The share key of one token."""
    return f"token:{token_id}"


def project_share(project_id: UUID) -> str:
    """The share key of a project, for work that no token stands behind."""
    return f"project:{project_id}"


@contextmanager
def shared_as(key: str) -> Generator[None]:
    """Let what the block uses count for this share key."""
    token = current_share.set(key)
    try:
        yield
    finally:
        current_share.reset(token)


class Turn:
    """Places that are held until ``end``."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def end(self) -> None:
        """Give the places back; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class TurnQueue:
    """A semaphore that is fair between keys, for one event loop.

    Of the keys that wait, the one that holds the fewest places is next; among equals the one that has waited
    longest since its last turn. Within a key, first come, first served. What is next is waited for, so that
    somebody who wants many places is not overtaken for ever by those who want few.
    """

    def __init__(self, units: int, *, most_per_key: int | None = None, spare: int = 0) -> None:
        """A queue for ``units``.

        Args:
            units: Given to whoever is next.
            most_per_key: What one key holds at most; None is all of ``units``.
            spare: Given, beyond ``units``, only to a key that holds nothing while one other key holds
                all of them: one key alone may use everything, and still nobody else waits for it.
        """
        if not 1 <= (most_per_key or units) <= units:
            msg = f"most_per_key must be from 1 to {units}, not {most_per_key}"
            raise ValueError(msg)
        self._units = units
        self._most_per_key = most_per_key or units
        self._spare = spare
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[asyncio.Future[None], int]]] = {}
        self._last_turns: dict[str, int] = {}
        """Of the keys that hold or wait, by a number that rises with each turn."""
        self._turns = 0

    def held(self, key: str | None = None) -> int:
        """How many places a key holds; None is all keys together."""
        return self._held.total() if key is None else self._held[key]

    def waiting(self, key: str | None = None) -> int:
        queues = self._waiting.values() if key is None else [self._waiting.get(key, ())]
        return sum(map(len, queues))

    @property
    def most_per_key(self) -> int:
        """What one key may hold, and so the most that can be asked for."""
        return self._most_per_key

    async def take(self, key: str | None = None, *, units: int = 1) -> Turn:
        """Wait for a turn; who takes it must end it. ``turn`` does both.

        Cancelling the wait leaves nothing behind. A limit of time is the caller's: ``asyncio.timeout``.
        """
        if not 1 <= units <= self._most_per_key:
            msg = f"places must be from 1 to {self._most_per_key}, not {units}"
            raise ValueError(msg)
        key = current_share.get() if key is None else key
        given = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append((given, units))
        self._serve()
        if not given.done():
            try:
                await given
            except asyncio.CancelledError:
                if not given.cancelled():
                    self._give_back(key, units)  # it was given in the same round of the loop
                else:
                    self._leave(key, given)
                raise
        return Turn(partial(self._give_back, key, units))

    @asynccontextmanager
    async def turn(self, key: str | None = None, *, units: int = 1) -> AsyncGenerator[Turn]:
        """Wait for a turn and hold it for the block.

        Args:
            key: Whose it is; None is ``current_share``.
            units: How many at once; all or none are given.
        """
        turn = await self.take(key, units=units)
        try:
            yield turn
        finally:
            turn.end()

    def try_take(self, key: str | None = None, *, units: int = 1) -> Turn | None:
        """A turn if one is free now, without overtaking anybody; else None."""
        key = current_share.get() if key is None else key
        held = self._held[key]
        is_overtaking = any(self._held[other] <= held and self._may_have(other) for other in self._waiting)
        if key in self._waiting or is_overtaking or not self._fits(key, units):
            return None
        self._hold(key, units)
        return Turn(partial(self._give_back, key, units))

    def _serve(self) -> None:
        """Give turns while the one that is next fits."""
        while able := [key for key in self._waiting if self._may_have(key)]:
            key = min(able, key=self._rank)
            queue = self._waiting[key]
            given, units = queue[0]
            if not given.cancelled():  # else its caller has not come round to leaving yet
                if not self._fits(key, units):
                    return
                self._hold(key, units)
                given.set_result(None)
            queue.popleft()
            if not queue:
                del self._waiting[key]

    def _rank(self, key: str) -> tuple[int, int]:
        return self._held[key], self._last_turns.get(key, 0)

    def _hold(self, key: str, units: int) -> None:
        self._held[key] += units
        self._turns += 1
        self._last_turns[key] = self._turns

    def _may_have(self, key: str) -> bool:
        return self._held[key] + self._waiting[key][0][1] <= self._most_per_key

    def _fits(self, key: str, units: int) -> bool:
        own = self._held[key]
        held = self._held.total()
        if own + units > self._most_per_key:
            return False
        is_alone = own == 0 and len(self._held) == 1
        return held + units <= self._units + (self._spare if is_alone else 0)

    def _give_back(self, key: str, units: int) -> None:
        self._held[key] -= units
        if not self._held[key]:
            del self._held[key]
            self._forget(key)
        self._serve()

    def _leave(self, key: str, given: "asyncio.Future[None]") -> None:
        rest = deque(entry for entry in self._waiting.get(key, ()) if entry[0] is not given)
        if rest:
            self._waiting[key] = rest
        else:
            self._waiting.pop(key, None)
            self._forget(key)
        self._serve()  # who stood behind it may fit where it did not

    def _forget(self, key: str) -> None:
        if key not in self._held and key not in self._waiting:
            self._last_turns.pop(key, None)


class SharedLimit:
    """Counts what each key holds of something limited, and refuses instead of letting anybody wait.

    A key may hold as much as it leaves free: one alone half of all, two a third each, and so on. So there is
    always something left for whoever comes next, to the very last.
    """

    def __init__(self, most: int, *, most_by: Mapping[str, int] = MappingProxyType({})) -> None:
        """A limit of ``most`` for all together.

        Args:
            most: Of whatever is counted; one key alone has half of it at most.
            most_by: What some keys hold at most, where that is less.
        """
        self._most = most
        self._most_by = dict(most_by)
        self._held: Counter[str] = Counter()
        self._total = 0

    def held(self, key: str | None = None) -> int:
        """How much a key holds; None is all keys together."""
        return self._total if key is None else self._held[key]

    def take(self, key: str, amount: int = 1) -> bool:
        """Take so much more for a key; False, and nothing taken, where it does not get that."""
        own = self._held[key] + amount
        free = self._most - self._total - amount
        if free < 0 or own > free + 1 or own > self._most_by.get(key, own):
            return False
        self._held[key] = own
        self._total += amount
        return True

    def give_back(self, key: str, amount: int = 1) -> None:
        self._total -= amount
        self._held[key] -= amount
        if not self._held[key]:
            del self._held[key]
