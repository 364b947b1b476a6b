"""A folder, a bucket, and a double between the two, for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from kroma.config import S3Access
from kroma.storage.bucket import Bucket
from kroma.storage.directory import DirectoryStore
from kroma.sync.layout import Layout
from kroma.sync.local_files import LocalTree
from kroma.sync.mirror import Mirrored, mirror
from kroma.sync.progress import Progress, SyncResult
from kroma.sync.restore import restore, verify
from support.doubles.s3_double import S3Double

PREFIX = "iat-projects/42/"
SMALL = Layout(multipart_over=6 * 1024**2, part_bytes=5 * 1024**2)
"""S3 takes no smaller parts."""


class Notes:
    """Uploads in parts, remembered in memory."""

    def __init__(self) -> None:
        self.uploads: dict[str, str] = {}

    async def find_known(self) -> Mapping[str, str]:
        return self.uploads

    async def note_begun(self, upload_id: str, sha256: str) -> None:
        self.uploads[upload_id] = sha256


class Ends:
    """Both ends of a copy."""

    def __init__(self, root: Path, bucket: Bucket, double: S3Double, access: S3Access) -> None:
        self.root = root
        self.bucket = bucket
        self.double = double
        self.access = access
        self.notes = Notes()
        self.result = SyncResult()
        self.progress = Progress()

    def write(self, **files: str | bytes) -> None:
        for name, content in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def tree(self) -> LocalTree:
        return LocalTree(str(self.root), left_out=[".kroma/thumbnails"], layout=SMALL)

    async def sync(self, **options: Any) -> Mirrored:
        self.result, self.progress = SyncResult(), Progress()
        self.double.asked.clear()
        return await mirror(
            self.bucket,
            self.tree,
            prefix=PREFIX,
            at_once=8,
            notes=self.notes,
            progress=self.progress,
            result=self.result,
            **options,
        )

    async def restore(self, root: Path | None = None, **options: Any) -> SyncResult:
        self.result = SyncResult()
        root = root or self.root
        await restore(
            self.bucket,
            DirectoryStore(root),
            LocalTree(str(root), layout=SMALL),
            prefix=PREFIX,
            at_once=8,
            progress=Progress(),
            result=self.result,
            **options,
        )
        return self.result

    async def verify(self) -> SyncResult:
        self.result = SyncResult()
        await verify(
            self.bucket, self.tree, prefix=PREFIX, at_once=8, progress=Progress(), result=self.result
        )
        return self.result

    async def keys(self, prefix: str = PREFIX) -> list[str]:
        return [found.key.removeprefix(prefix) async for found in self.bucket.list_objects(prefix)]

    async def content(self, name: str) -> bytes:
        return await self.bucket.get(PREFIX + name)


def put_directly(address: str, key: str, data: bytes) -> None:
    """As another tool would, without our metadata."""
    httpx.put(f"{address}/{key}", content=data).raise_for_status()
