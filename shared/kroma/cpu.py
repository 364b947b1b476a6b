"""Picture work in processes of its own: off the event loop, under limits of memory and time."""

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
"""Address space of one process: a 64 megapixel picture in float32 RGBA is 1 GiB, and twice that in work."""
CPU_LIMIT_S: Final = 300.0
"""Computing time of one call: a net under the checks that refuse a picture made to take long."""
IDLE_AFTER_S: Final = 60.0
"""A pool that did nothing for so long gives its processes back: numpy and OpenCV are much memory."""
ROOM_BYTES: Final = 96 * 1024**2
"""What all callers together may have in memory of files to be worked on; on its way to a process a file is
there twice."""
ROOM_OF_ONE_BYTES: Final = 64 * 1024**2
"""What one caller may have of it: the largest file, or many small ones."""
LEAST_ROOM_BYTES: Final = 4 * 1024**2
"""What a small file counts: the result of its work may be larger than it."""
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
    text = "A picture process ended before its work was done; the picture may need too much memory or time"


class remote:  # noqa: N801 - stands where a module would
    """A module whose functions only picture processes run: it is imported there and not here.

    Stands in the ``else`` of ``if TYPE_CHECKING: from package import module``, which gives the types.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> "_RemoteFunction":
        if name.startswith("__"):
            raise AttributeError(name)
        return _RemoteFunction(self._module, name)


class _RemoteFunction:
    """Pickles as the function it names."""

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


class PictureProcess:
    """One process, held for a while; it makes one call after the other."""

    def __init__(self, pool: "CpuPool", executor: ProcessPoolExecutor, cpu_limit_s: float) -> None:
        self._pool = pool
        self._cpu_limit_s = cpu_limit_s
        self._call: Future[Any] | None = None
        self.executor = executor

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the process; it and its arguments must pickle.

        Raises:
            PictureWorkLostError: The process died under it.
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
        # An error keeps its frames for as long as somebody keeps the error, and they what was sent.
        if call.forget() > PIPE_BYTES:
            # The library keeps what it sent last, too, until it sends something else.
            with suppress(BrokenProcessPool, RuntimeError):
                self.executor.submit(int)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back once the last call has ended: one whose caller left computes on."""
        if self._call is None or self._call.done():
            callback()
            return
        loop = asyncio.get_running_loop()

        def ended(_: "Future[Any]") -> None:
            with suppress(RuntimeError):  # the loop is closed, and the pool with it
                loop.call_soon_threadsafe(callback)

        self._call.add_done_callback(ended)


class CpuPool:
    """Runs module-level functions in a few processes, started on first use and shared in turn.

    Whoever is alone uses all of them. While one caller (``kroma.shares``) has them all, the next caller gets
    one more, so that nobody waits for the end of another's long call.
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
        # An executor for each process: one that dies takes no other's work along.
        self._executors: set[ProcessPoolExecutor] = set()
        self._idle: list[ProcessPoolExecutor] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_share: str | None = None
        self._has_several = False
        """Whether more than one caller has come since the pool was last idle."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the next free picture process; it and its arguments must pickle.

        Raises:
            PictureWorkLostError: The process died under it; other work is not affected.
        """
        async with self.process() as process:
            calling = process.run(function, *args, **kwargs)
            del args, kwargs
            return await calling

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[PictureProcess]:
        """Wait in turn for a picture process, for one whose arguments are loaded only then."""
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
        """Wait in turn for room for a file, before it is loaded to be worked on.

        Whoever has room may wait for a process, and never the other way round.
        """
        return self._room.turn(units=min(max(size_bytes, LEAST_ROOM_BYTES), ROOM_OF_ONE_BYTES))

    def prepare_spare(self, function: Callable[..., object]) -> None:
        """Start the spare process, with what ``function`` needs, before somebody has to wait for its start.

        That is when all others are busy and more than one caller uses the pool.
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
        # spawn: forking a process with an event loop and open database connections is undefined.
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
    # The library has no public way to ask; finding out by a call would make the call fail.
    return bool(vars(executor)["_broken"])


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

    def forget(self) -> int:
        """Let go of the arguments, when it has been made.

        Returns:
            How many bytes of files they were, about.
        """
        args = [*self._args, *self._kwargs.values()]
        self._args, self._kwargs = (), {}
        return sum(len(arg) for arg in args if isinstance(arg, bytes))

    def __call__(self) -> T:
        # Nothing handles the signal, so it ends the process, also in the midst of a decoder's C code.
        signal.setitimer(signal.ITIMER_PROF, self._cpu_limit_s)
        try:
            return self._function(*self._args, **self._kwargs)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
