"""A bucket of a real S3 server."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from kroma.config import S3Access
from kroma.storage.bucket import Bucket, BucketPart, open_bucket
from kroma.storage.errors import (
    BucketNotFoundError,
    ChecksumMismatchError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    StoreCredentialsError,
    StoreUnavailableError,
)

pytestmark = pytest.mark.timeout(30)

PART = 5 * 1024**2
"""The least that a part may have, unless it is the last."""


@pytest.fixture
async def bucket(s3_access: S3Access, s3_bucket: str) -> AsyncIterator[Bucket]:
    async with open_bucket(s3_bucket, s3_access, guard=None, connections=10) as opened:
        yield opened


async def test_an_object_is_put_with_what_it_is_and_read_back(bucket: Bucket) -> None:
    stored = await bucket.put("a/b.png", b"pixels")

    assert stored.sha256 == hashlib.sha256(b"pixels").hexdigest()
    assert await bucket.head("a/b.png") == stored
    assert await bucket.get("a/b.png") == b"pixels"


async def test_an_object_that_is_not_there_has_no_head(bucket: Bucket) -> None:
    assert await bucket.head("nothing") is None
    with pytest.raises(ObjectNotFoundError):
        await bucket.get("nothing")


async def test_other_bytes_than_their_checksum_says_are_not_sent(bucket: Bucket) -> None:
    with pytest.raises(ChecksumMismatchError):
        await bucket.put("a.png", b"pixels", sha256="0" * 64)

    assert await bucket.head("a.png") is None


async def test_a_read_is_compared_with_the_checksum_that_was_recorded(bucket: Bucket) -> None:
    await bucket.put("a.png", b"pixels")

    with pytest.raises(ChecksumMismatchError):
        await bucket.get("a.png", sha256=hashlib.sha256(b"others").hexdigest())
    with pytest.raises(ObjectTooLargeError, match="has 6 bytes; the limit is 5"):
        await bucket.get("a.png", limit_bytes=5)


async def test_a_listing_shows_what_begins_with_a_prefix(bucket: Bucket) -> None:
    for key in ("in/b", "in/a", "inside", "other/a"):
        await bucket.put(key, b"x")

    listed = [found async for found in bucket.list_objects("in/")]

    assert [(found.key, found.size_bytes) for found in listed] == [("in/a", 1), ("in/b", 1)]
    assert {found.etag for found in listed} == {hashlib.md5(b"x", usedforsecurity=False).hexdigest()}
    assert await bucket.has_any("in/")
    assert not await bucket.has_any("on/")


async def test_more_is_deleted_than_one_request_may(bucket: Bucket) -> None:
    await bucket.put("first", b"x")
    await bucket.put("last", b"x")

    await bucket.delete(["first", *(str(number) for number in range(1000)), "last"])

    assert [found async for found in bucket.list_objects("")] == []


async def test_deleting_what_is_not_there_is_no_error(bucket: Bucket) -> None:
    await bucket.delete([])
    await bucket.delete(["nothing"])
    await bucket.delete(["nothing", "nowhere"])


async def test_an_upload_in_parts_is_seen_when_it_is_complete(bucket: Bucket) -> None:
    data = b"x" * PART + b"last"
    digest = hashlib.sha256(data).hexdigest()
    upload = await bucket.begin_upload("big.bin", sha256=digest)
    first = await bucket.put_part("big.bin", upload, 1, data[:PART])
    last = await bucket.put_part("big.bin", upload, 2, data[PART:])

    assert await bucket.head("big.bin") is None
    assert [(found.key, found.upload_id) async for found in bucket.list_uploads("big")] == [
        ("big.bin", upload)
    ]
    parts = await bucket.list_parts("big.bin", upload)
    assert parts == [
        BucketPart(number=1, etag=first, size_bytes=PART),
        BucketPart(number=2, etag=last, size_bytes=4),
    ]
    assert last == hashlib.md5(b"last", usedforsecurity=False).hexdigest()

    etag = await bucket.complete_upload("big.bin", upload, parts)

    found = await bucket.head("big.bin")
    assert found is not None
    assert (found.size_bytes, found.etag, found.sha256) == (len(data), etag, digest)
    assert await bucket.get("big.bin") == data


async def test_an_upload_that_was_given_up_is_gone(bucket: Bucket) -> None:
    upload = await bucket.begin_upload("big.bin")
    await bucket.put_part("big.bin", upload, 1, b"x")

    await bucket.abort_upload("big.bin", upload)
    await bucket.abort_upload("big.bin", upload)

    assert await bucket.list_parts("big.bin", upload) == []
    assert [found async for found in bucket.list_uploads("")] == []


async def test_a_part_that_never_came_completes_nothing(bucket: Bucket) -> None:
    upload = await bucket.begin_upload("big.bin")

    with pytest.raises(StoreUnavailableError, match="InvalidPart"):
        await bucket.complete_upload("big.bin", upload, [BucketPart(number=1, etag="0" * 32)])

    assert await bucket.head("big.bin") is None


async def test_a_copy_takes_its_checksum_along(bucket: Bucket) -> None:
    stored = await bucket.put("a.png", b"pixels")

    await bucket.copy("a.png", "ä b.png")

    copied = await bucket.head("ä b.png")
    assert copied is not None
    assert copied.sha256 == stored.sha256
    with pytest.raises(ObjectNotFoundError):
        await bucket.copy("nothing", "b.png")


async def test_a_bucket_that_is_missing_is_named(s3_access: S3Access) -> None:
    async with open_bucket("kroma-not-there", s3_access, guard=None, connections=1) as missing:
        with pytest.raises(BucketNotFoundError, match="'kroma-not-there' does not exist") as caught:
            await missing.put("a", b"")

    assert not caught.value.retryable


async def test_a_bucket_whose_name_cannot_be_is_refused(s3_access: S3Access) -> None:
    async with open_bucket("no such bucket", s3_access, guard=None, connections=1) as wrong:
        with pytest.raises(StoreUnavailableError, match="Invalid bucket name") as caught:
            await wrong.put("a", b"")

    assert not caught.value.retryable


async def test_a_profile_that_is_missing_is_named() -> None:
    with pytest.raises(StoreCredentialsError, match="kroma-nobody"):
        async with open_bucket("b", S3Access(profile="kroma-nobody"), guard=None, connections=1):
            pass


def test_no_key_is_shown() -> None:
    access = S3Access(access_key_id="AKIA-SHOWN", secret_access_key="secret-shown", session_token="t-shown")

    assert "shown" not in repr(access).lower()


async def test_a_region_that_is_none_is_said_and_not_tried_again() -> None:
    with pytest.raises(StoreUnavailableError, match="its region is no name of a region") as caught:
        async with open_bucket("comics", S3Access(region="eu west"), guard=None, connections=1):
            pass

    assert not caught.value.retryable
