"""A folder, a bucket, and a double between the two."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from kroma.config import S3Access
from kroma.db.engine import Database
from kroma.storage.access import RetryPolicy
from kroma.storage.bucket import open_bucket
from support.doubles.s3_double import S3Double, s3_double
from support.harness.sync_endpoints import Ends
from support.harness.sync_harness import Office, open_office


@pytest.fixture
async def double(s3_server: str) -> AsyncIterator[S3Double]:
    async with s3_double(s3_server) as opened:
        yield opened


@pytest.fixture
async def ends(tmp_path: Path, double: S3Double, s3_access: S3Access, s3_bucket: str) -> AsyncIterator[Ends]:
    root = tmp_path / "comic"
    root.mkdir()
    access = msgspec.structs.replace(s3_access, endpoint_url=double.endpoint)
    impatient = RetryPolicy(attempts=1)
    async with open_bucket(s3_bucket, access, guard=None, connections=16, retry_policy=impatient) as bucket:
        yield Ends(root, bucket, double, access)


@pytest.fixture
def direct(s3_server: str, s3_bucket: str) -> str:
    """The address of the bucket itself."""
    return f"{s3_server}/{s3_bucket}"


@pytest.fixture
async def office(
    fresh_db: Database, data_dir: Path, double: S3Double, s3_bucket: str
) -> AsyncIterator[Office]:
    opened = await open_office(fresh_db, data_dir, double, s3_bucket)
    yield opened
    await opened.renewer.close()
