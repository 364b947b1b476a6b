"""Running the operator's programs: no shell, a time limit, limits of output, no secrets around."""

import asyncio
import contextlib
import os
import resource
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from kroma.postprocess.errors import ToolError, ToolMissingError, ToolTimedOutError

MAX_SAID_BYTES: Final = 64 * 1024
"""Of what a program says the end is kept."""
MAX_FILE_BYTES: Final = 1024**3
MAX_OPEN_FILES: Final = 1024
_SAID_IN_ERROR: Final = 300
_CHUNK: Final = 8192
_LAST_WORDS: Final = timedelta(seconds=1)
_SECRET_MARKS: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "DATABASE_URL", "REDIS_URL")


async def run_program(tool: str, arguments: Sequence[str], *, timeout: timedelta, folder: Path) -> str:  # noqa: ASYNC109 - it ends a process, too
    """Run a program to its end.

    Args:
        tool: Its name in messages.
        arguments: The program and what it is given; no shell looks at them.
        timeout: After which it and all that it started are killed.
        folder: Where it runs.

    Returns:
        The end of what it said.

    Raises:
        ToolMissingError: There is no such program.
        ToolTimedOutError: It was killed.
        ToolError: It ended with another code than 0.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
            preexec_fn=_limit,
        )
    except OSError as exc:
        raise ToolMissingError(tool, f"its program cannot be started: {exc.strerror or exc}") from exc
    said = bytearray()
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await _read(process, said)
            code = await process.wait()
    except TimeoutError:
        raise ToolTimedOutError(tool, f"it took longer than {timeout.total_seconds():g} s") from None
    finally:
        await _end(process)
    text = said.decode("utf-8", "replace").strip()
    if code != 0:
        last = " ".join(text.split())[-_SAID_IN_ERROR:] or "it said nothing"
        raise ToolError(tool, f"it ended with code {code}: {last}")
    return text


async def _read(process: Process, said: bytearray) -> None:
    if process.stdout is None:
        return
    while chunk := await process.stdout.read(_CHUNK):
        said += chunk
        del said[:-MAX_SAID_BYTES]


async def _end(process: Process) -> None:
    """Kill the whole group, whatever of it is left: a program may have started others."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):  # who left the group may hold it open
            async with asyncio.timeout(_LAST_WORDS.total_seconds()):
                while await process.stdout.read(_CHUNK):
                    pass  # to its end, which closes the pipe


def _limit() -> None:
    """In the child, before it becomes the program. Memory is not limited: drivers reserve much of it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))


def _environment() -> dict[str, str]:
    """Ours without what is secret: the program needs its libraries' variables, and no key."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KROMA_", "IAT_")) and not any(mark in name.upper() for mark in _SECRET_MARKS)
    }
