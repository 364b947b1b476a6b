import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import timeit

import psutil
import pytest

from kroma.cpu import CPU_LIMIT_S, PIPE_BYTES, CpuPool, PictureWorkLostError, _Call

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
        executor = pool._executor  # noqa: SLF001 - nobody else can look at its pipes
        queues = [getattr(executor, name) for name in ("_call_queue", "_result_queue")]
        widths = {fcntl.fcntl(queue._writer.fileno(), fcntl.F_GETPIPE_SZ) for queue in queues}  # noqa: SLF001
    finally:
        await pool.close()
    assert widths == {PIPE_BYTES}
