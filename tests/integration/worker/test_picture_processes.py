import asyncio
import fcntl
import os
import subprocess
import sys

import psutil
import pytest

from kroma.cpu import PIPE_BYTES, CpuPool

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
