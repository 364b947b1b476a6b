"""Runs picture code in separate processes: off the event loop, with limits on memory and time."""

import asyncio
import ctypes
import fcntl
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, Final, Generic, ParamSpec, TypeVar

from kroma.errors import InfraError
from kroma.metrics import PICTURE_PROCESSES_LOST
from kroma.shares import Turn, TurnQueue, current_share

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_LIMIT_BYTES: Final = 3 * 1024**3
"""Address space of one process: 64 megapixels are 1 GiB in float32 RGBA, and the work takes twice that."""
CPU_LIMIT_S: Final = 300.0
"""CPU time of one call: a safety net below the checks that refuse pictures crafted to take long."""
IDLE_AFTER_S: Final = 60.0
"""An idle pool stops its processes after this time, since numpy and OpenCV take much memory."""
ROOM_BYTES: Final = 96 * 1024**2
"""Input files that all callers may hold in memory; each is there twice while it is sent to a process."""
ROOM_OF_ONE_BYTES: Final = 64 * 1024**2
"""One caller's part of ``ROOM_BYTES``: the largest file, or many small ones."""
LEAST_ROOM_BYTES: Final = 4 * 1024**2
"""What a small file counts as: its result may be larger."""
PIPE_BYTES: Final = 1024**2
"""The largest pipe that Linux gives an unprivileged user."""
_PR_SET_PDEATHSIG: Final = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM_BYTES: Final = 32 * 1024**2
_KEPT_BYTES: Final = 128 * 1024**2
"""Free memory that the allocator keeps at the end of the heap."""


class PictureWorkLostError(InfraError):
    """A picture process ran out of memory or time, or was killed."""

    code = "picture_process_lost"
    text = "A picture process ended before its work was done; the picture may need too much memory or time"


class remote:  # noqa: N801 - stands where a module would
    """A module that only picture processes import.

    Use it in the ``else`` branch of ``if TYPE_CHECKING: from package import module``.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> "_RemoteFunction":
        if name.startswith("__"):
            raise AttributeError(name)
        return _RemoteFunction(self._module, name)


class _RemoteFunction:
    """Unpickles as the function it names."""

    def __init__(self, module: str, name: str) -> None:
        self.__name__ = name
        self._names = (module, name)

    def __reduce__(self) -> tuple[Callable[[str, str], Callable[..., Any]], tuple[str, str]]:
        return _imported, self._names

    def __call__(self, *args: object, **kwargs: object) -> object:
        return _imported(*self._names)(*args, **kwargs)


def _imported(module: str, name: str) -> Callable[..., Any]:
    return getattr(import_module(module), name)


def _prepare_process(memory_limit_bytes: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # An orphan would wait for work forever: its own copy of the pipe keeps the pipe open.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before prctl
        _keep_memory()
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, memory_limit_bytes))


def _keep_memory() -> None:
    """Let the allocator reuse one picture's memory for the next.

    By default glibc maps every large buffer, zeroes its pages and unmaps it, which is a tenth of a
    thumbnail's time. Other C libraries have no such setting.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class PictureProcess:
    """One process, reserved for a caller; it runs one call at a time."""

    def __init__(self, pool: "CpuPool", executor: ProcessPoolExecutor, cpu_limit_s: float) -> None:
        self._pool = pool
        self._cpu_limit_s = cpu_limit_s
        self._call: Future[Any] | None = None
        self.executor = executor

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the process; it and its arguments must pickle.

        Raises:
            PictureWorkLostError: The process died.
        """
        call = _Call(function, args, kwargs, self._cpu_limit_s)
        del args, kwargs
        try:
            self._call = self.executor.submit(call)
            self._pool.prepare_spare(function)
            return await asyncio.wrap_future(self._call)
        except BrokenProcessPool as exc:
            raise PictureWorkLostError from exc
        finally:
            if self._call is not None and self._call.done():
                self._call = None
                self._forget(call)

    def _forget(self, call: "_Call[Any]") -> None:
        # A stored error keeps its frames alive, and these keep the arguments.
        if call.forget() > PIPE_BYTES:
            # The executor also keeps the last item it sent, until it sends another.
            with suppress(BrokenProcessPool, RuntimeError):
                self.executor.submit(int)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back when the last call has ended; a call continues after its caller is canceled."""
        if self._call is None or self._call.done():
            callback()
            return
        loop = asyncio.get_running_loop()

        def ended(_: "Future[Any]") -> None:
            with suppress(RuntimeError):  # the loop and the pool are closed
                loop.call_soon_threadsafe(callback)

        self._call.add_done_callback(ended)


class CpuPool:
    """Runs module-level functions in a few processes, started on first use and shared in turn.

    One caller (``kroma.shares``) alone may use all of them. The next one then gets a spare process, so
    that it does not wait for the other's long calls.
    """

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
        self._turns = TurnQueue(processes, spare=1)
        self._room = TurnQueue(ROOM_BYTES, most_per_key=ROOM_OF_ONE_BYTES)
        # One executor per process, so that a dying process fails only its own call.
        self._executors: set[ProcessPoolExecutor] = set()
        self._idle: list[ProcessPoolExecutor] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_share: str | None = None
        self._has_several = False
        """Whether several callers have used the pool since it was last idle."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the next free picture process; it and its arguments must pickle.

        Raises:
            PictureWorkLostError: The process died; other calls are not affected.
        """
        async with self.process() as process:
            calling = process.run(function, *args, **kwargs)
            del args, kwargs
            return await calling

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[PictureProcess]:
        """Wait in turn for a picture process, to load a call's arguments only then."""
        turn = await self._turns.take()
        share = current_share.get()
        self._has_several = self._has_several or self._last_share not in {None, share}
        self._last_share = share
        process = PictureProcess(self, self._taken(), self._cpu_limit_s)
        try:
            yield process
        finally:
            process.when_free(partial(self._give_back, process.executor, turn))

    def room(self, size_bytes: int) -> AbstractAsyncContextManager[Turn]:
        """Wait in turn for memory for an input file, before loading it.

        Always take room before a process, never after, or two callers could deadlock.
        """
        return self._room.turn(units=min(max(size_bytes, LEAST_ROOM_BYTES), ROOM_OF_ONE_BYTES))

    def prepare_spare(self, function: Callable[..., object]) -> None:
        """Start the spare process early, and import ``function`` there.

        Does nothing unless several callers use the pool and all other processes are busy.
        """
        is_full = len(self._executors) == self._turns.held() == self._processes
        if self._has_several and is_full:
            executor = self._started()
            executor.submit(callable, function)
            self._idle.append(executor)

    async def close(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        executors, self._executors, self._idle = self._executors, set(), []
        stops = [asyncio.to_thread(executor.shutdown, cancel_futures=True) for executor in executors]
        await asyncio.gather(*stops)

    def _taken(self) -> ProcessPoolExecutor:
        while self._idle:
            executor = self._idle.pop()
            if not _is_broken(executor):
                return executor
            self._discard(executor)
        return self._started()

    def _give_back(self, executor: ProcessPoolExecutor, turn: Turn) -> None:
        if _is_broken(executor):
            self._discard(executor)
        elif executor in self._executors:
            self._idle.append(executor)
        turn.end()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(IDLE_AFTER_S, self._stop_if_idle)

    def _discard(self, executor: ProcessPoolExecutor) -> None:
        if executor in self._executors:
            self._executors.discard(executor)
            PICTURE_PROCESSES_LOST.inc()

    def _started(self) -> ProcessPoolExecutor:
        # spawn, because forking a process with an event loop and database connections is unsafe.
        executor = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare_process,
            initargs=(self._memory_limit_bytes, os.getpid()),
        )
        _widen_pipes(executor)
        self._executors.add(executor)
        return executor

    def _stop_if_idle(self) -> None:
        if not self._turns.held():
            executors, self._executors, self._idle = self._executors, set(), []
            self._last_share, self._has_several = None, False
            for executor in executors:
                executor.shutdown(wait=False)


def _is_broken(executor: ProcessPoolExecutor) -> bool:
    # There is no public attribute, and finding out by a call would make that call fail.
    return bool(vars(executor)["_broken"])


def _widen_pipes(executor: ProcessPoolExecutor) -> None:
    """Enlarge the pipes to and from the process beyond the default 64 KiB.

    A 2 MB picture crosses a default pipe in 33 rounds, each waking both sides: 13 ms instead of 2 ms.
    """
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return  # not Linux
    for name in ("_call_queue", "_result_queue"):
        queue = getattr(executor, name)  # there is no public attribute
        with suppress(OSError):  # the user's limit for all pipes
            fcntl.fcntl(queue._writer.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # noqa: SLF001


class _Call(Generic[T]):
    """A call with a CPU time limit, in a form that pickles."""

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

    def forget(self) -> int:
        """Drop the arguments; return the total size of their bytes objects."""
        args = [*self._args, *self._kwargs.values()]
        self._args, self._kwargs = (), {}
        return sum(len(arg) for arg in args if isinstance(arg, bytes))

    def __call__(self) -> T:
        # The signal has no handler, so it ends the process even inside a decoder's C code.
        signal.setitimer(signal.ITIMER_PROF, self._cpu_limit_s)
        try:
            return self._function(*self._args, **self._kwargs)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
