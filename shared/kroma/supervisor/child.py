"""One process that is kept alive."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from kroma.errors import KromaError
from kroma.supervisor.child_log import ChildLog
from kroma.supervisor.errors import PartFailedError

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 30.0
STEADY_AFTER_S: Final = 30.0
"""A child that lived so long starts its next series of failures with the first pause again."""
_ENDING_S: Final = 1.0

Launch = Callable[[int], "subprocess.Popen[bytes]"]
"""Starts the process with its output on this file descriptor; called in the main thread."""
WaitReady = Callable[["subprocess.Popen[bytes]"], Awaitable[None]]
Report = Callable[[str], None]


class Child:
    """A part of the stack: started once, started again whenever it dies, stopped at the end."""

    def __init__(
        self,
        name: str,
        *,
        log: ChildLog,
        prepare: Callable[[], None] | None = None,
        launch: Launch,
        wait_ready: WaitReady,
        stop_with: signal.Signals,
        grace_s: float,
        attempts: int = 1,
    ) -> None:
        self.name = name
        self._log = log
        self._prepare = prepare
        self._launch = launch
        self._wait_ready = wait_ready
        self._stop_with = stop_with
        self._grace_s = grace_s
        self._attempts = attempts
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """Its process id, 0 while it is down."""
        return 0 if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it for the first time.

        Raises:
            PartFailedError: It ended before it was ready.
            KromaError: What its preparation raised.
        """
        if self._prepare is not None:
            try:
                await asyncio.to_thread(self._prepare)
            except OSError as exc:
                raise PartFailedError(f"{self.name} cannot be prepared: {exc}") from exc
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._start_once()
            except PartFailedError:
                if attempt == self._attempts:
                    raise
        return None

    async def keep(self, report: Report, changed: Callable[[], None]) -> None:
        """Start it again whenever it dies, until canceled.

        Args:
            report: Gets one line for each death and each return.
            changed: Called when the process id is another.
        """
        pause = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            await self._ended.wait()
            if time.monotonic() - began > STEADY_AFTER_S:
                pause = FIRST_PAUSE_S
            ending = self._how_it_ended()
            report(f"{self.name} {ending}; starting it again in {pause:g} s (log: {self._log.path})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            try:
                await self.start()
            except KromaError as exc:
                report(exc.message)
                self._ended.set()
            else:
                changed()
                report(f"{self.name} is back")

    async def stop(self) -> None:
        """Ask it to end, and kill it with all its children when its time is over."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._stop_with)
        try:
            async with asyncio.timeout(self._grace_s):
                await self._ended.wait()
        except TimeoutError:
            pass
        _kill_group(process.pid)
        await self._ended.wait()
        self._process = None

    async def close(self) -> None:
        """Finish its log."""
        await self._log.close()

    async def _start_once(self) -> None:
        output = await self._log.open()
        self._ended = asyncio.Event()
        try:
            self._process = self._launch(output)
        finally:
            os.close(output)
        _watch(self._process, self._ended)
        try:
            await self._ready_or_ended(self._process)
        except BaseException:
            _kill_group(self._process.pid)
            await self._ended.wait()
            raise

    async def _ready_or_ended(self, process: "subprocess.Popen[bytes]") -> None:
        ready = asyncio.ensure_future(self._wait_ready(process))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise PartFailedError(await self._last_words(), log=self._log.path)
            try:
                ready.result()
            except (KromaError, TimeoutError) as exc:
                # What it was waited on for may end before the process does.
                await asyncio.wait({ended}, timeout=_ENDING_S)
                late = f"{self.name} did not become ready in time"
                message = await self._last_words() if ended.done() else late
                raise PartFailedError(message, log=self._log.path) from exc
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def _last_words(self) -> str:
        """How the part ended, and the reason that a service of Kroma logged last."""
        line = await self._log.last_line()
        ending = f"{self.name} {self._how_it_ended()}"
        return f"{ending}: {line}" if line.startswith("kroma_") else ending

    def _how_it_ended(self) -> str:
        status = None if self._process is None else self._process.returncode
        if status is not None and status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


def _watch(process: "subprocess.Popen[bytes]", ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()


def _kill_group(leader: int) -> None:
    # Every child leads a group of its own, so this reaches what it left behind, too.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
