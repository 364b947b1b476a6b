"""Files of an upload on their way to a picture process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kroma.cpu import CpuPool
from kroma.imaging.file_part import FilePart
from kroma.library.spool import Spool

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def cpu() -> AsyncIterator[CpuPool]:
    pool = CpuPool(1)
    yield pool
    await pool.close()


async def test_a_picture_process_reads_a_file_where_it_lies(cpu: CpuPool, tmp_path: Path) -> None:
    async with Spool(tmp_path) as spool:
        await spool.keep("first", b"before")
        second = b"x" * 3_000_000
        file = await spool.keep("second", second)
        await spool.keep("third", b"after")

        part = await spool.source(file)

        assert isinstance(part, FilePart)
        assert await cpu.run(FilePart.read, part) == second


async def test_a_file_of_an_upload_that_has_ended_is_not_read(tmp_path: Path) -> None:
    async with Spool(tmp_path) as spool:
        part = await spool.source(await spool.keep("a", b"x"))

    assert isinstance(part, FilePart)
    with pytest.raises(OSError, match="No such file"):
        part.read()


def test_a_file_that_cannot_be_opened_by_its_descriptor_has_no_part() -> None:
    assert FilePart.find(-1, offset=0, size_bytes=1) is None
