"""Runs computations beside the event loop that would block it but are too large to send to a process."""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

FEW: Final = 500
"""Up to this many elements, a thread would take longer than the work: 5 ms at 10 us each."""
LARGE_BYTES: Final = 64 * 1024
"""A smaller JSON body has few elements."""
# One thread, since two would both compete with the loop. Not the loop's own threads, since a few large bodies
# could occupy them all, and no file could be read.
_thread: Final = ThreadPoolExecutor(1, "aside")


async def aside(elements: int, function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Call a computing function, in a thread if it processes many elements.

    The loop runs in between, so the function must not hold the GIL in long C calls, nor share mutable data
    with code on the loop.
    """
    if elements <= FEW:
        return function(*args, **kwargs)
    work = partial(_uncollected, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread, work)


def _uncollected(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Run without garbage collection, which would stop the loop while it walks a large body's objects."""
    gc.disable()
    try:
        return function(*args, **kwargs)
    finally:
        gc.enable()
