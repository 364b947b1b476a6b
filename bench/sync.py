"""Copying a project to a bucket that responds after 20 ms.

New files: 2,000 files of 2 to 8 KiB, compared with boto3 sending one at a time (a tenth of them, times
ten), and with a gather of aioboto3 puts at the same concurrency. Nothing new: 10,000 files, compared
with a loop that computes their MD5s and lists the bucket with aioboto3. Memory: the peak of a process
that sends a file of 2 GiB, compared with one that sends 256 MiB.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aioboto3
import boto3
from aiobotocore.config import AioConfig
from figures import line
from s3_stub import running_stub

from kroma.config import S3Access
from kroma.storage.bucket import open_bucket
from kroma.sync.local_files import LocalTree
from kroma.sync.mirror import mirror
from kroma.sync.progress import Progress, SyncResult

AT_ONCE = 32
CREDENTIALS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
SLOWEST, OF_BARE, OF_LOOK = 8.0, 1.3, 3.0
MAY_GROW_MB = 64


class NoNotes:
    """Multipart uploads that are never resumed."""

    async def find_known(self) -> Mapping[str, str]:
        return {}

    async def note_begun(self, upload_id: str, sha256: str) -> None:
        """Record nothing."""


async def _ours(stub: str, root: Path, prefix: str) -> SyncResult:
    access = S3Access(endpoint_url=stub, region="us-east-1", access_key_id="x", secret_access_key="x")  # noqa: S106 - a stub's
    result = SyncResult()
    async with open_bucket("b", access, guard=None, connections=AT_ONCE + 4) as bucket:
        await mirror(
            bucket,
            LocalTree(str(root)),
            prefix=prefix,
            at_once=AT_ONCE,
            notes=NoNotes(),
            progress=Progress(),
            result=result,
        )
    return result


async def _gathered(stub: str, root: Path, prefix: str) -> None:
    config = AioConfig(max_pool_connections=AT_ONCE)
    paths = _paths(root)
    slots = asyncio.Semaphore(AT_ONCE)
    async with aioboto3.Session(**CREDENTIALS).client("s3", endpoint_url=stub, config=config) as client:

        async def put(path: str) -> None:
            async with slots:
                with open(f"{root}/{path}", "rb") as file:  # noqa: ASYNC230, PTH123 - the least overhead
                    await client.put_object(Bucket="b", Key=prefix + path, Body=file.read())

        await asyncio.gather(*map(put, paths))


def _one_by_one(stub: str, root: Path, prefix: str) -> None:
    client = boto3.Session(**CREDENTIALS).client("s3", endpoint_url=stub)
    paths = _paths(root)
    for path in paths[: max(1, len(paths) // 10)]:
        client.put_object(Bucket="b", Key=prefix + path, Body=(root / path).read_bytes())


def _paths(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


async def _looked(stub: str, root: Path, prefix: str) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            with open(f"{folder}/{name}", "rb") as file:  # noqa: ASYNC230, PTH123 - the least overhead
                hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    async with aioboto3.Session(**CREDENTIALS).client("s3", endpoint_url=stub) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="b", Prefix=prefix)
        async for page in pages:
            len(page.get("Contents", []))


def _filled(root: Path, files: int) -> Path:
    generator = random.Random(files)  # noqa: S311 - the same files every time
    for number in range(files):
        path = root / f"{number // 500:02}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.randbytes(generator.randrange(2048, 8192)))
    return root


def _timed_ms(work: Any) -> float:  # noqa: ANN401 - a coroutine or a function's result
    started = time.perf_counter()
    if asyncio.iscoroutine(work):
        asyncio.run(work)
    else:
        work()
    return (time.perf_counter() - started) * 1000


def _new_files(stub: str, root: Path, rounds: int) -> list[dict[str, Any]]:
    pairs: list[tuple[float, float]] = []
    slow: list[tuple[float, float]] = []
    for number in range(rounds):
        ours = _timed_ms(_ours(stub, root, f"ours{number}/"))
        pairs.append((ours, _timed_ms(_gathered(stub, root, f"bare{number}/"))))
        slow.append((ours, 10 * _timed_ms(lambda number=number: _one_by_one(stub, root, f"slow{number}/"))))
    return [
        line("sync of new files compared with boto3", slow, at_least=SLOWEST),
        line("sync of new files compared with a gather", pairs, at_most=OF_BARE),
    ]


def _nothing_new(stub: str, root: Path, rounds: int) -> dict[str, Any]:
    asyncio.run(_ours(stub, root, "kept/"))
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        started = time.perf_counter()
        result = asyncio.run(_ours(stub, root, "kept/"))
        ours = (time.perf_counter() - started) * 1000
        if result.copied:
            raise AssertionError(result)
        pairs.append((ours, _timed_ms(_looked(stub, root, "kept/"))))
    return line("sync without a change", pairs, at_most=OF_LOOK)


def _peak_mb(stub: str, size_bytes: int) -> float:
    command = [sys.executable, __file__, "--peak", stub, str(size_bytes)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _send_large(stub: str, size_bytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kroma-bench-") as folder:
        with (Path(folder) / "large").open("wb") as file:
            file.truncate(size_bytes)
        asyncio.run(_ours(stub, Path(folder), f"large{size_bytes}/"))
    # Not ru_maxrss, which includes the peak of the parent process.
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    print(int(peak) / 1024)


def _memory(stub: str, *, smoke: bool) -> dict[str, Any]:
    small_bytes, large_bytes = (80 * 1024**2, 96 * 1024**2) if smoke else (256 * 1024**2, 2 * 1024**3)
    small, large = (_peak_mb(stub, size) for size in (small_bytes, large_bytes))
    return {
        "name": "memory of a sync of 2 GiB",
        "shown": f"{large:.0f} MB",
        "raw_shown": f"{small:.0f} MB for 256 MiB",
        "ratio": round(large / small, 2),
        "target": f"<{MAY_GROW_MB} MB more",
        "ok": large - small < MAY_GROW_MB,
    }


def measure(*, smoke: bool = False) -> list[dict[str, Any]]:
    """Compare alternating rounds against one stub."""
    rounds, new, old = (1, 20, 20) if smoke else (5, 2000, 10_000)
    with running_stub() as stub, tempfile.TemporaryDirectory(prefix="kroma-bench-") as folder:
        lines = _new_files(stub, _filled(Path(folder) / "new", new), rounds)
        lines.append(_nothing_new(stub, _filled(Path(folder) / "old", old), rounds))
        lines.append(_memory(stub, smoke=smoke))
    return lines


def main() -> None:
    for found in measure():
        print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _send_large(sys.argv[2], int(sys.argv[3]))
    else:
        main()
