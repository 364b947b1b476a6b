"""How files are cut into parts, and how much of them is in memory."""

import asyncio

import pytest

from kroma.sync.layout import MAX_PARTS, USUAL, Layout
from kroma.sync.parallel import ByteBudget, in_parallel

MIB = 1024**2


@pytest.mark.parametrize(
    ("size_bytes", "parts", "part_bytes"),
    [
        pytest.param(0, 1, None, id="nothing"),
        pytest.param(64 * MIB, 1, None, id="as large as one request sends"),
        pytest.param(64 * MIB + 1, 5, 16 * MIB, id="a byte more"),
        pytest.param(96 * MIB, 6, 16 * MIB, id="whole parts"),
        pytest.param(200 * 1024 * MIB, 9753, 21 * MIB, id="more than 10,000 of the usual parts"),
    ],
)
def test_a_file_is_cut_into_parts(size_bytes: int, parts: int, part_bytes: int | None) -> None:
    lengths = USUAL.lengths(size_bytes)

    assert (len(lengths), sum(lengths)) == (parts, size_bytes)
    assert parts <= MAX_PARTS
    assert part_bytes is None or set(lengths[:-1]) == {part_bytes}


def test_the_tag_of_parts_is_made_of_theirs() -> None:
    layout = Layout(multipart_over=1, part_bytes=1)

    assert layout.etag(1, [bytes(16)]) == "0" * 32
    assert layout.etag(2, [bytes(16), bytes(16)]) == "70bc8f4b72a86921468bf8e8441dce51-2"


async def test_no_more_is_held_than_the_budget_has() -> None:
    budget = ByteBudget(100)
    held: list[int] = []
    most = 0

    async def hold(size: int) -> None:
        nonlocal most
        async with budget.holding(size):
            held.append(min(size, 100))
            most = max(most, sum(held))
            await asyncio.sleep(0)
            held.remove(min(size, 100))

    await in_parallel([60, 30, 50, 1000, 10, 90], hold, at_once=6)

    assert (most, held) == (100, [])


async def test_one_who_waited_in_vain_keeps_nobody_waiting() -> None:
    budget = ByteBudget(10)
    released = asyncio.Event()

    async def hold(size: int) -> None:
        async with budget.holding(size):
            await released.wait()

    first, waiting, last = [asyncio.create_task(hold(size)) for size in (8, 9, 2)]
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(first, last)

    assert waiting.cancelled()


async def test_the_first_error_ends_the_others_and_is_the_one_raised() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 2:
            raise ValueError(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="2"):
        await in_parallel([0, 1, 2, 3], work, at_once=3)

    assert ended == [0, 1]
