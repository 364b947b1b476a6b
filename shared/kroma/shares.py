"""Fair sharing of limited resources between callers (docs/decisions/0032).

A share key names the caller of a request or job: a token, a project, or nobody. An entry point sets it once
in ``current_share``; a limited resource takes turns from a ``TurnQueue``, which reads it from there.
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
"""The share key of the current request or job; empty for Kroma's own work."""

ANONYMOUS: Final = "anonymous"
"""The one share key of all callers without a token."""


def token_share(token_id: UUID) -> str:
    """The share key of one token."""
    return f"token:{token_id}"


def project_share(project_id: UUID) -> str:
    """The share key of a project's jobs."""
    return f"project:{project_id}"


@contextmanager
def shared_as(key: str) -> Generator[None]:
    """Set ``current_share`` for the block."""
    token = current_share.set(key)
    try:
        yield
    finally:
        current_share.reset(token)


class Turn:
    """Units held until ``end``."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def end(self) -> None:
        """Release the units; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class TurnQueue:
    """A semaphore that is fair between keys, for one event loop.

    Among the waiting keys, the one holding the fewest units is next, then the one whose last turn is the
    oldest. Within a key, first come, first served. Others wait until the next request fits, so that small
    requests cannot overtake a large one forever.
    """

    def __init__(self, units: int, *, most_per_key: int | None = None, spare: int = 0) -> None:
        """A queue for ``units``.

        Args:
            units: Shared by all keys.
            most_per_key: What one key may hold; None means all ``units``.
            spare: Extra units for a key that holds nothing while one other key holds all ``units``: one
                key alone may use everything, and the next does not wait for it.
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
        """Number of the last turn, for keys that hold or wait."""
        self._turns = 0

    def held(self, key: str | None = None) -> int:
        """Units held by a key, or by all keys."""
        return self._held.total() if key is None else self._held[key]

    def waiting(self, key: str | None = None) -> int:
        """Number of waiting callers with this key, or with any key."""
        queues = self._waiting.values() if key is None else [self._waiting.get(key, ())]
        return sum(map(len, queues))

    @property
    def most_per_key(self) -> int:
        return self._most_per_key

    async def take(self, key: str | None = None, *, units: int = 1) -> Turn:
        """Wait for a turn, which the caller must end; ``turn`` does both.

        The wait can be canceled at any time, for example by ``asyncio.timeout``.
        """
        if not 1 <= units <= self._most_per_key:
            msg = f"units must be from 1 to {self._most_per_key}, not {units}"
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
                    self._give_back(key, units)  # given in the same loop iteration as the cancellation
                else:
                    self._leave(key, given)
                raise
        return Turn(partial(self._give_back, key, units))

    @asynccontextmanager
    async def turn(self, key: str | None = None, *, units: int = 1) -> AsyncGenerator[Turn]:
        """Wait for a turn and hold it for the block; a ``key`` of None is ``current_share``."""
        turn = await self.take(key, units=units)
        try:
            yield turn
        finally:
            turn.end()

    def try_take(self, key: str | None = None, *, units: int = 1) -> Turn | None:
        """Take a turn if that overtakes no waiting caller; else None."""
        key = current_share.get() if key is None else key
        held = self._held[key]
        is_overtaking = any(self._held[other] <= held and self._may_have(other) for other in self._waiting)
        if key in self._waiting or is_overtaking or not self._fits(key, units):
            return None
        self._hold(key, units)
        return Turn(partial(self._give_back, key, units))

    def _serve(self) -> None:
        """Give turns as long as the next request fits."""
        while able := [key for key in self._waiting if self._may_have(key)]:
            key = min(able, key=self._rank)
            queue = self._waiting[key]
            given, units = queue[0]
            if not given.cancelled():  # a canceled caller leaves in its own time
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
        self._serve()  # the next request may fit where this one did not

    def _forget(self, key: str) -> None:
        if key not in self._held and key not in self._waiting:
            self._last_turns.pop(key, None)


class SharedLimit:
    """Counts what each key holds of a limited resource, and refuses instead of waiting.

    A key may hold as much as it leaves free: one alone half of it, two a third each, and so on. So
    something is always left for the next key.
    """

    def __init__(self, most: int, *, most_by: Mapping[str, int] = MappingProxyType({})) -> None:
        """A limit of ``most`` for all keys; ``most_by`` sets lower limits for some of them."""
        self._most = most
        self._most_by = dict(most_by)
        self._held: Counter[str] = Counter()
        self._total = 0

    def held(self, key: str | None = None) -> int:
        """What a key holds, or all keys."""
        return self._total if key is None else self._held[key]

    def take(self, key: str, amount: int = 1) -> bool:
        """Take an amount for a key; False if that is over its limit."""
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
