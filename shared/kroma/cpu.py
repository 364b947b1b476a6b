"""Picture work in processes of its own: off the event loop, under limits of memory and time."""

import asyncio
import ctypes
import fcntl
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Final, Generic, ParamSpec, TypeVar

from kroma.errors import InfraError
from kroma.metrics import PICTURE_PROCESSES_LOST

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_LIMIT_BYTES: Final = 3 * 1024**3
"""Address space of one process: a 64 megapixel picture in float32 RGBA is 1 GiB, and twice that in work."""
CPU_LIMIT_S: Final = 300.0
"""Computing time of one call: a net under the checks that refuse a picture made to take long."""
IDLE_AFTER_S: Final = 60.0
"""A pool that did nothing for so long gives its processes back: numpy and OpenCV are much memory."""
PIPE_BYTES: Final = 1024**2
"""What Linux lets every user have in one pipe."""
_PR_SET_PDEATHSIG: Final = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM_BYTES: Final = 32 * 1024**2
_KEPT_BYTES: Final = 128 * 1024**2
"""Free memory at the end of a picture process's heap, until it has been idle for a minute."""


class PictureWorkLostError(InfraError):
    """A picture process died: out of memory or time, or killed."""

    code = "picture_process_lost"

    def __init__(self) -> None:
        super().__init__(
            "A picture process ended before its work was done; the picture may need too much memory or time"
        )


def _prepare_process(memory_limit_bytes: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # An orphan would wait for work for ever: its own copy of the pipe keeps it from closing.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before it could be asked for its death
        _keep_memory()
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


def _keep_memory() -> None:
    """Let the allocator keep what one picture took for the next, instead of fetching its pages anew.

    By default every buffer of a picture is mapped, filled with zeros page by page, and given back; that is
    a tenth of the time a thumbnail takes. Other C libraries than glibc have no such setting.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class CpuPool:
    """Runs module-level functions in a few processes, started on first use."""

    def __init__(
        self,
        processes: int,
        *,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
        cpu_limit_s: float = CPU_LIMIT_S,
    ) -> None:
        self._processes = processes
        self._memory_limit_bytes = memory_limit_bytes
        self._cpu_limit_s = cpu_limit_s
        self._executor: ProcessPoolExecutor | None = None
        self._running = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a picture process; it and its arguments must pickle.

        Raises:
            PictureWorkLostError: The process died under it; other work is not affected.
        """
        executor = self._started()
        self._running += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(executor, _Call(function, args, kwargs, self._cpu_limit_s))
        except BrokenProcessPool as exc:
            if self._executor is executor:
                self._executor = None
                PICTURE_PROCESSES_LOST.inc()
            raise PictureWorkLostError from exc
        finally:
            self._running -= 1
            self._schedule_idle_stop()

    async def close(self) -> None:
        """Stop the processes."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # spawn: forking a process with an event loop and open database connections is undefined.
            self._executor = ProcessPoolExecutor(
                self._processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare_process,
                initargs=(self._memory_limit_bytes, os.getpid()),
            )
            _widen_pipes(self._executor)
        return self._executor

    def _schedule_idle_stop(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE_AFTER_S, self._stop_if_idle)

    def _stop_if_idle(self) -> None:
        if self._running == 0 and self._executor is not None:
            executor, self._executor = self._executor, None
            executor.shutdown(wait=False)


def _widen_pipes(executor: ProcessPoolExecutor) -> None:
    """Give the pipes to and from its processes more than their 64 KiB.

    A picture of 2 MB crosses a usual pipe in 33 turns, and each wakes a process on either side: 13 ms
    where its bytes need 2.
    """
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return  # no Linux
    for name in ("_call_queue", "_result_queue"):
        queue = getattr(executor, name)  # the library has no public way to them
        with suppress(OSError):  # more than this user may have in pipes
            fcntl.fcntl(queue._writer.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # noqa: SLF001


class _Call(Generic[T]):
    """A call with keywords and a limit of computing time, in a form that pickles."""

    def __init__(
        self,
        function: Callable[..., T],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        cpu_limit_s: float,
    ) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._cpu_limit_s = cpu_limit_s

    def __call__(self) -> T:
        # Nothing handles the signal, so it ends the process, also in the midst of a decoder's C code.
        signal.setitimer(signal.ITIMER_PROF, self._cpu_limit_s)
        try:
            return self._function(*self._args, **self._kwargs)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
