"""Places that are shared in turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kroma.shares import SharedLimit, TurnQueue, current_share

pytestmark = pytest.mark.timeout(10)


class Line:
    """Callers of a queue, in the order they get a place."""

    def __init__(self, queue: TurnQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str, units: int = 1) -> None:
        """Callers like ``a1``, whose first letter is their key."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._stand(name, units))
            await asyncio.sleep(0)

    async def leave(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
            await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await settled()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _stand(self, name: str, units: int) -> None:
        async with self.queue.turn(name[0], units=units):
            self.served.append(name)
            await self._ends[name].wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def line(queue: TurnQueue) -> AsyncIterator[Line]:
    callers = Line(queue)
    try:
        yield callers
    finally:
        await callers.close()
    assert queue.held() == queue.waiting() == 0


async def test_keys_are_served_in_turn_whoever_came_first() -> None:
    async with line(TurnQueue(1)) as callers:
        await callers.join("a1", "a2", "a3", "b1", "b2", "c1")
        await callers.leave("a1", "b1", "c1", "a2", "b2", "a3")
        assert callers.served == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_the_key_with_the_fewest_places_is_next() -> None:
    async with line(TurnQueue(3)) as callers:
        await callers.join("a1", "a2", "a3", "a4", "a5", "b1", "b2")
        await callers.leave("a1")  # a holds two, b none
        await callers.leave("b1")  # and again
        assert callers.served == ["a1", "a2", "a3", "b1", "b2"]


async def test_one_key_uses_all_places_while_nobody_else_comes() -> None:
    async with line(TurnQueue(3)) as callers:
        await callers.join("a1", "a2", "a3", "a4")
        assert callers.served == ["a1", "a2", "a3"]


async def test_one_key_never_has_more_than_its_share() -> None:
    async with line(TurnQueue(3, most_per_key=2)) as callers:
        await callers.join("a1", "a2", "a3", "b1")
        assert callers.served == ["a1", "a2", "b1"]
        await callers.leave("b1")
        assert callers.queue.held("a") == 2
        assert callers.queue.waiting("a") == 1


async def test_the_spare_place_is_for_another_key_than_the_one_that_has_all() -> None:
    async with line(TurnQueue(2, spare=1)) as callers:
        await callers.join("a1", "a2", "a3", "b1", "b2")
        assert callers.served == ["a1", "a2", "b1"]
        await callers.leave("b1")
        assert callers.served == ["a1", "a2", "b1", "b2"]
        await callers.leave("a1")  # b holds the spare one, so the two ordinary ones are taken
        assert callers.served == ["a1", "a2", "b1", "b2"]


async def test_the_spare_place_is_not_for_a_third_key() -> None:
    async with line(TurnQueue(2, spare=1)) as callers:
        await callers.join("a1", "b1", "c1")
        assert callers.served == ["a1", "b1"]


async def test_many_places_are_not_overtaken_for_ever_by_few() -> None:
    async with line(TurnQueue(4)) as callers:
        await callers.join("a1", "b1", units=2)
        await callers.join("c1", units=4)
        await callers.join("d1", "d2", units=1)
        await callers.leave("a1")
        assert callers.served == ["a1", "b1"]
        await callers.leave("b1")
        assert callers.served == ["a1", "b1", "c1"]


async def test_who_no_longer_waits_lets_the_next_pass() -> None:
    async with line(TurnQueue(4)) as callers:
        await callers.join("a1", units=2)
        await callers.join("b1", units=4)
        await callers.join("c1", units=1)
        await callers.cancel("b1")
        assert callers.served == ["a1", "c1"]


async def test_a_place_given_to_a_caller_that_is_cancelled_just_then_goes_to_the_next() -> None:
    queue = TurnQueue(1)
    first = await queue.take("a")
    canceled = asyncio.create_task(queue.take("b"))
    following = asyncio.create_task(queue.take("c"))
    await settled()
    first.end()  # gives it to b, whose task has not run yet
    canceled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await canceled
    (await following).end()
    assert queue.held() == queue.waiting() == 0


async def test_a_place_is_not_given_to_a_caller_that_was_cancelled_just_before() -> None:
    queue = TurnQueue(1)
    first = await queue.take("a")
    canceled = asyncio.create_task(queue.take("b"))
    following = asyncio.create_task(queue.take("c"))
    await settled()
    canceled.cancel()
    first.end()  # b's task has not run yet
    (await following).end()
    with pytest.raises(asyncio.CancelledError):
        await canceled
    assert queue.held() == queue.waiting() == 0


async def test_a_turn_ends_once() -> None:
    queue = TurnQueue(2)
    turn, other = await queue.take("a"), await queue.take("a")
    turn.end()
    turn.end()
    assert queue.held("a") == 1
    other.end()


async def test_trying_neither_waits_nor_overtakes() -> None:
    queue = TurnQueue(2, most_per_key=1)
    turn = queue.try_take("a")
    assert turn is not None
    assert queue.try_take("a") is None  # its share
    other = queue.try_take("b")
    assert other is not None
    assert queue.try_take("c") is None  # full
    waiting = asyncio.create_task(queue.take("c"))
    await settled()
    turn.end()
    assert queue.try_take("d") is None  # c has it
    for held in (other, await waiting):
        held.end()
    assert queue.held() == 0


async def test_the_key_is_the_one_of_the_context() -> None:
    queue = TurnQueue(2)
    token = current_share.set("project:1")
    try:
        async with queue.turn():
            assert queue.held("project:1") == 1
    finally:
        current_share.reset(token)


@pytest.mark.parametrize("units", [0, 3])
async def test_what_could_never_be_given_is_refused(units: int) -> None:
    with pytest.raises(ValueError, match="units must be from 1 to 2"):
        await TurnQueue(4, most_per_key=2).take("a", units=units)


class TestSharedLimit:
    def test_one_alone_has_half(self) -> None:
        limit = SharedLimit(10)

        assert [limit.take("a") for _ in range(6)] == [True] * 5 + [False]
        assert (limit.held("a"), limit.held()) == (5, 5)

    @pytest.mark.parametrize("greedy", [1, 2, 5, 40])
    def test_however_many_are_greedy_the_next_one_finds_some(self, greedy: int) -> None:
        limit = SharedLimit(1000)
        for _ in range(1000):
            for key in range(greedy):
                limit.take(str(key))

        assert limit.take("newcomer")
        held = [limit.held(str(key)) for key in range(greedy)]
        assert max(held) - min(held) <= 1
        assert max(held) <= 1000 - sum(held) + 1

    def test_what_is_given_back_is_had_by_others(self) -> None:
        limit = SharedLimit(4)
        assert limit.take("a", 2)
        assert limit.take("b", 1)
        assert not limit.take("b", 1)
        limit.give_back("a", 2)

        assert limit.take("b", 1)
        limit.give_back("b", 2)
        assert (limit.held("a"), limit.held("b"), limit.held()) == (0, 0, 0)

    def test_a_key_may_have_a_limit_of_its_own(self) -> None:
        limit = SharedLimit(100, most_by={"strangers": 2})

        assert [limit.take("strangers") for _ in range(3)] == [True, True, False]
        assert limit.take("a", 40)

    def test_nothing_is_taken_where_not_all_of_it_is_had(self) -> None:
        limit = SharedLimit(10)

        assert not limit.take("a", 6)
        assert limit.take("a", 5)
