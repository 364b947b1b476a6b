"""How the API's process gives memory back."""

import ctypes
from contextlib import suppress
from typing import Final

LARGE_BYTES: Final = 1024 * 1024
_M_MMAP_THRESHOLD: Final = -3
"""As ``malloc.h`` numbers it."""


def give_large_blocks_back() -> None:
    """Let the system have every block of 1 MiB and more again as soon as it is freed.

    glibc does so until the first large block is freed. From then on it keeps blocks of that size, 32 MiB
    at most, for the next one, and one small block above them holds them for good: after uploads, tables and
    pictures the process kept 250 MB that nobody used. Without glibc this does nothing.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
