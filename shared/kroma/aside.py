"""Computing beside the event loop: what would stall it, and is too large to be sent to a process."""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

FEW: Final = 500
"""Elements that are computed sooner than a thread has its turn: 5 ms at 10 us each."""
LARGE_BYTES: Final = 64 * 1024
"""Of a JSON body; a smaller one has few elements."""
# One thread: two would take turns with the loop, which would wait for both. Not the loop's own threads, which
# would all be taken while a few large bodies wait, and nobody's file could be read.
_thread: Final = ThreadPoolExecutor(1, "aside")


async def aside(elements: int, function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Call a function that computes, in a thread where it has much to do.

    The loop gets its turn every few milliseconds, so the function must make no call to C that takes long.

    Args:
        elements: How many it looks at, about.
        function: Reads and writes nothing that the loop's own code may change meanwhile.
        args: Its arguments.
        kwargs: Its arguments by name.
    """
    if elements <= FEW:
        return function(*args, **kwargs)
    work = partial(_uncollected, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread, work)


def _uncollected(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Nothing else runs while a collection walks what a large body became, so there is none meanwhile."""
    gc.disable()
    try:
        return function(*args, **kwargs)
    finally:
        gc.enable()
