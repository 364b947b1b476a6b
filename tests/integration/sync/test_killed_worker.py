"""``kill -9`` in the middle of a large file: another worker finishes it, and sends no finished part again."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from kroma.storage.bucket import open_bucket
from support.doubles.s3_double import Asked, S3Double, Verdict, forever
from support.harness.sync_harness import Office
from support.harness.worker_harness import url_of
from support.servers.s3_server import access_to

pytestmark = pytest.mark.timeout(120)

MIB = 1024**2
BIG = b"".join(bytes([number]) * (16 * MIB) for number in range(4)) + b"the end"
"""Over 64 MiB, so that it goes in parts of 16 MiB."""


@contextmanager
def worker(office: Office) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KROMA_", "AWS_"))},
        "KROMA_DATABASE_URL": url_of(office.db),
        "KROMA_QUEUE": "postgres",
        "KROMA_DATA_DIR": str(office.settings.data_dir),
        "KROMA_URL_ALLOW": "127.0.0.1",
        "KROMA_LEASE_S": "2",
        "KROMA_METRICS_BIND": "off",
    }
    command = [sys.executable, "-m", "kroma_worker"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_finished_parts_survive_a_killed_worker(
    office: Office, double: S3Double, s3_server: str
) -> None:
    (office.root / "scenes" / "big.tiff").write_bytes(BIG)
    row = await office.ask()
    held = True

    async def only_two_parts_pass(asked: Asked, _: web.Request) -> Verdict:
        if held and asked.part is not None and asked.part > 2:
            await forever()
        return None

    double.rule = only_two_parts_pass
    with worker(office) as first:
        await double.until(lambda: sorted(double.parts()) == [1, 2])
        first.kill()
        first.wait()
    held = False
    interrupted = await office.row(row)
    assert (interrupted.status, interrupted.attempt) == ("running", 1)
    async with open_bucket(
        row.destination.split("/")[2], access_to(s3_server), guard=None, connections=2
    ) as bucket:
        key = f"iat-projects/{office.project.id}/scenes/big.tiff"
        assert await bucket.head(key) is None, "nothing half is visible"
        with worker(office):
            while (await office.row(row)).status == "running":
                await asyncio.sleep(0.05)

        assert sorted(double.parts()) == [1, 2, 3, 4, 5]
        stored = await bucket.head(key)
        assert stored is not None
        assert (stored.size_bytes, stored.sha256) == (len(BIG), hashlib.sha256(BIG).hexdigest())
        assert [upload async for upload in bucket.list_uploads("")] == []
    done = await office.row(row)
    assert (done.status, done.attempt) == ("done", 2)
    assert (done.result_json["parts_kept"], done.result_json["parts_sent"]) == (2, 3)
    assert len([path for path in double.puts() if path.endswith("a.png")]) <= 1
    assert (await office.asset("scenes/a.png")).storage_backend == "s3"
