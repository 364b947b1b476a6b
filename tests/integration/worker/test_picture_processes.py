import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import sys
import timeit
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kroma.cpu import CPU_LIMIT_S, PIPE_BYTES, CpuPool, PictureWorkLostError, _Call
from kroma.shares import current_share

pytestmark = pytest.mark.timeout(60)

WORKER = """
import asyncio, os
from kroma.cpu import CpuPool

async def work():
    print(await CpuPool(1).run(os.getpid), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(work())
"""
TOO_LATE = "from kroma.cpu import _prepare_process; _prepare_process(2**40, 1)"


def test_picture_processes_end_with_a_killed_worker() -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        process = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
    psutil.wait_procs([process], timeout=30)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_picture_process_whose_worker_died_before_it_was_ready_ends_at_once() -> None:
    # Its parent is this test, not the process 1 that is said to have started it.
    assert os.getpid() != 1
    assert subprocess.run([sys.executable, "-c", TOO_LATE], check=False, timeout=30).returncode == 1


def test_a_pool_works_in_another_process() -> None:
    async def ask() -> int:
        pool = CpuPool(1)
        try:
            return await pool.run(os.getpid)
        finally:
            await pool.close()

    assert asyncio.run(ask()) != os.getpid()


async def compute(pool: CpuPool, seconds: float) -> None:
    """Keep a core busy for so long in a call."""
    loop = f"end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
    await pool.run(timeit.timeit, loop, "import time", number=1)


@asynccontextmanager
async def opened(pool: CpuPool) -> AsyncIterator[CpuPool]:
    try:
        yield pool
    finally:
        await pool.close()


AT_THE_GATE = """
open(f"{gate}.{{os.getpid()}}", "w").close()
while not os.path.exists({gate!r}):
    time.sleep(0.01)
"""


class Gate:
    """Where calls stand until it is opened."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"

    def call(self, pool: CpuPool, share: str) -> "asyncio.Task[float]":
        """A call for a caller that stands at the gate."""
        script = AT_THE_GATE.format(gate=str(self._path))

        async def stand() -> float:
            current_share.set(share)
            return await pool.run(timeit.timeit, script, "import os, time", number=1)

        return asyncio.create_task(stand())

    def processes(self) -> int:
        """How many have come so far."""
        return len(list(self._path.parent.glob("gate.*")))

    async def come(self, processes: int) -> None:
        while self.processes() < processes:
            await asyncio.sleep(0.01)

    def open(self) -> None:
        self._path.touch()


async def process_of(pool: CpuPool, share: str) -> int:
    token = current_share.set(share)
    try:
        return await pool.run(os.getpid)
    finally:
        current_share.reset(token)


@pytest.mark.parametrize("processes", [1, 2])
async def test_nobody_waits_for_the_end_of_another_callers_long_calls(processes: int, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with opened(CpuPool(processes)) as pool:
        flood = [gate.call(pool, "a") for _ in range(6)]
        await gate.come(processes)
        for share in ("b", "c", "b"):
            await process_of(pool, share)
        assert gate.processes() == processes  # the spare one is not for the flood
        gate.open()
        await asyncio.gather(*flood)


async def test_the_spare_process_is_ready_before_somebody_needs_it(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with opened(CpuPool(1)) as pool:
        first = await process_of(pool, "b")
        flood = gate.call(pool, "a")
        await gate.come(1)
        (spare,) = pool._idle  # noqa: SLF001 - nobody else sees a process that has done nothing yet
        assert await process_of(pool, "b") in spare._processes.keys() - {first}  # noqa: SLF001 - as above
        gate.open()
        await flood


async def test_who_is_alone_uses_all_processes_and_starts_no_spare_one(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with opened(CpuPool(2)) as pool:
        calls = [gate.call(pool, "a") for _ in range(4)]
        await gate.come(2)
        gate.open()
        await asyncio.gather(*calls)
        assert gate.processes() == len(pool._idle) == 2  # noqa: SLF001 - as above


async def test_a_call_whose_caller_left_still_counts(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with opened(CpuPool(1)) as pool:
        left = gate.call(pool, "a")
        await gate.come(1)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        following = asyncio.create_task(process_of(pool, "a"))
        done, _ = await asyncio.wait([following], timeout=1)
        assert not done
        gate.open()
        await following


async def test_a_process_that_dies_takes_no_other_work_along(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with opened(CpuPool(2)) as pool:
        other = gate.call(pool, "b")
        await gate.come(1)
        with pytest.raises(PictureWorkLostError):
            await pool.run(signal.raise_signal, signal.SIGKILL)
        gate.open()
        await other
        await pool.run(os.getpid)


async def test_idle_processes_that_were_killed_are_replaced() -> None:
    async with opened(CpuPool(1)) as pool:
        killed = psutil.Process(await pool.run(os.getpid))
        killed.kill()
        await asyncio.to_thread(psutil.wait_procs, [killed], 10)
        for _ in range(2):
            with suppress(PictureWorkLostError):  # its death may not have been noticed yet
                assert await pool.run(os.getpid) != killed.pid
                return
            await asyncio.sleep(0.5)
    pytest.fail("no process took its place")


async def test_a_call_that_computes_too_long_ends_with_its_process_and_the_next_one_works() -> None:
    pool = CpuPool(1, cpu_limit_s=0.4)
    try:
        with pytest.raises(PictureWorkLostError, match="too much memory or time"):
            await compute(pool, 30)
        await compute(pool, 0.01)
    finally:
        await pool.close()


async def test_every_call_has_the_whole_time_for_itself() -> None:
    pool = CpuPool(1, cpu_limit_s=0.6)
    try:
        before = await pool.run(os.getpid)
        for _ in range(5):
            await compute(pool, 0.25)
        assert await pool.run(os.getpid) == before
    finally:
        await pool.close()


@pytest.mark.parametrize("is_good", [True, False])
def test_the_timer_runs_during_a_call_and_not_after_it(*, is_good: bool) -> None:
    call = _Call(signal.getitimer, (signal.ITIMER_PROF if is_good else -1,), {}, CPU_LIMIT_S)
    if is_good:
        assert 0 < call()[0] <= CPU_LIMIT_S + 1  # the kernel counts in ticks
    else:
        with pytest.raises(signal.ItimerError):
            call()
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have a fixed size elsewhere")
async def test_pictures_cross_wide_pipes_unchanged() -> None:
    pool = CpuPool(1)
    try:
        picture = os.urandom(3 * 1024**2)
        assert await pool.run(bytes.swapcase, picture) == picture.swapcase()
        (executor,) = pool._idle  # noqa: SLF001 - nobody else can look at its pipes
        queues = [getattr(executor, name) for name in ("_call_queue", "_result_queue")]
        widths = {fcntl.fcntl(queue._writer.fileno(), fcntl.F_GETPIPE_SZ) for queue in queues}  # noqa: SLF001
    finally:
        await pool.close()
    assert widths == {PIPE_BYTES}


async def test_an_error_of_a_call_does_not_keep_what_was_sent() -> None:
    size = 20 * 1024**2
    async with opened(CpuPool(1)) as pool:
        await pool.run(os.getpid)
        tracemalloc.start()
        try:
            with pytest.raises(struct.error) as caught:
                await pool.run(struct.unpack, "i", bytes(size))
            async with asyncio.timeout(10):
                while tracemalloc.get_traced_memory()[0] > size / 2:
                    await asyncio.sleep(0.01)
        finally:
            tracemalloc.stop()
    assert caught.value.args
