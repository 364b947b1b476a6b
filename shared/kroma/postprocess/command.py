"""Runs the operator's programs: no shell, limits on time and output, no secrets in the environment."""

import asyncio
import contextlib
import os
import resource
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from kroma.imaging.header import MAX_BYTES
from kroma.postprocess.errors import ToolError, ToolMissingError, ToolTimedOutError

MAX_OUTPUT_BYTES: Final = 64 * 1024
"""How much of the end of a program's output is kept."""
MAX_RESULT_BYTES: Final = 4 * MAX_BYTES
"""Limit for a program's output file, which may be larger than its input."""
MAX_FILE_BYTES: Final = 1024**3
MAX_OPEN_FILES: Final = 1024
_CHARACTERS_IN_ERROR: Final = 300
_CHUNK: Final = 8192
_DRAIN_LIMIT: Final = timedelta(seconds=1)
_SECRET_MARKS: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "DATABASE_URL", "REDIS_URL")


async def run_program(tool: str, arguments: Sequence[str], *, timeout: timedelta, folder: Path) -> str:  # noqa: ASYNC109 - it ends a process, too
    """Run a program in a folder and return the end of its output.

    Args:
        tool: The tool's name, for messages.
        arguments: The program and its arguments.
        timeout: Time after which the program and its child processes are killed.
        folder: The working directory.

    Raises:
        ToolMissingError: The program cannot be started.
        ToolTimedOutError: It was killed after the timeout.
        ToolError: Its exit code is not 0.
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
    output = bytearray()
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            await _read(process, output)
            code = await process.wait()
    except TimeoutError:
        raise ToolTimedOutError(tool, f"it took longer than {timeout.total_seconds():g} s") from None
    finally:
        await _end(process)
    text = output.decode("utf-8", "replace").strip()
    if code != 0:
        last = " ".join(text.split())[-_CHARACTERS_IN_ERROR:] or "it printed nothing"
        raise ToolError(tool, f"it ended with code {code}: {last}")
    return text


async def convert_file(
    tool: str,
    png: bytes,
    arguments: Callable[[Path, Path], Sequence[str]],
    *,
    timeout: timedelta,  # noqa: ASYNC109 - as above
) -> bytes:
    """Run a program that reads a PNG file and writes another, in a temporary folder.

    Args:
        tool: The tool's name, for messages.
        png: The input.
        arguments: Makes the command line from the input and the output path.
        timeout: As in ``run_program``.

    Raises:
        ToolError: As ``run_program``; or it wrote no file, or one that is too large.
    """
    with tempfile.TemporaryDirectory(prefix=f"kroma-{tool}-") as name:
        folder = Path(name)
        source, target = folder / "in.png", folder / "out.png"
        await asyncio.to_thread(source.write_bytes, png)
        await run_program(tool, arguments(source, target), timeout=timeout, folder=folder)
        return await asyncio.to_thread(_read_result, target, tool)


def _read_result(path: Path, tool: str) -> bytes:
    try:
        size = path.lstat().st_size
        if path.is_symlink() or not path.is_file():
            raise ToolError(tool, "its output is not a regular file")
        if size > MAX_RESULT_BYTES:
            raise ToolError(tool, f"its file has {size} bytes; the limit is {MAX_RESULT_BYTES}")
        return path.read_bytes()
    except OSError as exc:
        raise ToolError(tool, "it succeeded but wrote no picture") from exc


async def _read(process: Process, output: bytearray) -> None:
    if process.stdout is None:
        return
    while chunk := await process.stdout.read(_CHUNK):
        output += chunk
        del output[:-MAX_OUTPUT_BYTES]


async def _end(process: Process) -> None:
    """Kill the whole process group, since the program may have started others."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):  # a process that left the group may hold the pipe open
            async with asyncio.timeout(_DRAIN_LIMIT.total_seconds()):
                while await process.stdout.read(_CHUNK):
                    pass  # reading to the end closes the pipe


def _limit() -> None:
    """Runs in the child before exec. Memory is not limited, since drivers reserve much of it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))


def _environment() -> dict[str, str]:
    """The environment without secrets; programs may need the other variables."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KROMA_", "IAT_")) and not any(mark in name.upper() for mark in _SECRET_MARKS)
    }
