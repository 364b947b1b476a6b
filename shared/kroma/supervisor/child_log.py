"""A child's two outputs, in files that do not grow for ever."""

import asyncio
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from kroma.terminal import visible

_FILE_BYTES: Final = 5 * 1024 * 1024
_FILES: Final = 4


class ChildLog:
    """``logs/<name>.log`` and its older parts.

    The child writes into a pipe and not into the file, since it could not follow a rotation.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8")
        self._file.terminator = ""
        path.chmod(0o600)
        self._pumps: set[asyncio.Task[None]] = set()
        self._last_line = ""

    async def open(self) -> int:
        """The writing end of a new pipe, for one process; the caller closes its copy."""
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
        )
        pump = asyncio.create_task(self._pump(reader))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        return writing

    async def last_line(self) -> str:
        """What the processes that have ended said last."""
        await self._drain()
        return self._last_line

    async def close(self) -> None:
        """Write what the ended processes left in their pipes."""
        await self._drain()
        for pump in self._pumps:
            pump.cancel()
        self._file.close()

    async def _drain(self) -> None:
        if self._pumps:
            # A stray grandchild may hold a pipe open.
            await asyncio.wait(self._pumps, timeout=1)

    async def _pump(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(64 * 1024):
            # Whoever looks into the file does so on a terminal.
            text = visible(chunk.decode(errors="replace"), lines=True)
            # The handler rotates; the text already has its line ends.
            self._file.emit(logging.makeLogRecord({"msg": text}))
            self._last_line = text.rstrip().rpartition("\n")[2] or self._last_line
