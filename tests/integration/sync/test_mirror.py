"""A bucket becomes what a folder is."""

import hashlib
import itertools
import os

import pytest
from aiohttp import web

from kroma.storage.bucket import BucketPart, open_bucket
from kroma.storage.errors import BucketNotFoundError, StoreUnavailableError
from kroma.sync.errors import FilesLeftOutError, WouldDeleteAllError
from kroma.sync.mirror import mirror
from kroma.sync.progress import Progress, SyncResult
from support.doubles.s3_double import Asked, Verdict, refusal
from support.harness.sync_endpoints import PREFIX, SMALL, Ends, put_directly

pytestmark = pytest.mark.timeout(60)

MIB = 1024**2


def large(size_bytes: int = 12 * MIB, *, seed: int = 0) -> bytes:
    """No two parts alike."""
    return b"".join(bytes([seed, number % 251]) * (MIB // 2) for number in range(-(-size_bytes // MIB)))[
        :size_bytes
    ]


async def test_what_is_missing_or_different_is_sent_and_nothing_else(ends: Ends) -> None:
    ends.write(scenes__a="one", scenes__b="two", runs__log="{}")
    await ends.sync()
    assert sorted(await ends.keys()) == ["runs/log", "scenes/a", "scenes/b"]
    ends.write(scenes__b="TWO", scenes__c="three")  # the same size as before
    os.utime(ends.root / "scenes/a", (1, 1))  # clocks mean nothing

    mirrored = await ends.sync()

    assert sorted(path.rpartition(PREFIX)[2] for path in ends.double.puts()) == ["scenes/b", "scenes/c"]
    assert (ends.result.copied, ends.result.copied_bytes, ends.result.equal) == (2, 8, 2)
    assert sorted(mirrored.copied) == ["runs/log", "scenes/a", "scenes/b", "scenes/c"]
    assert await ends.content("scenes/b") == b"TWO"
    assert (await ends.bucket.head(f"{PREFIX}scenes/b")) is not None
    assert (ends.progress.files_done, ends.progress.bytes_done) == (2, 8)


async def test_temporary_files_thumbnails_and_symlinks_stay(ends: Ends) -> None:
    ends.write(
        a="one", **{".kroma-put-1": "half", ".kroma__thumbnails__x": "small", ".kroma__settings": "{}"}
    )
    (ends.root / "link").symlink_to("/etc/hostname")
    (ends.root / "folder").symlink_to("/etc")

    await ends.sync()

    assert sorted(await ends.keys()) == [".kroma/settings", "a"]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(ends: Ends, direct: str) -> None:
    ends.write(a="one", b="two")
    put_directly(direct, f"{PREFIX}old", b"x")

    await ends.sync(dry_run=True, delete_extra=True)

    assert (ends.result.copy_names, ends.result.delete_names) == (["a", "b"], ["old"])
    assert (ends.result.copied, ends.result.deleted) == (2, 1)
    assert await ends.keys() == ["old"]
    assert {asked.method for asked in ends.double.asked} == {"GET"}


async def test_only_below_the_prefix_and_only_when_asked_objects_go(ends: Ends, direct: str) -> None:
    ends.write(a="one")
    for key in (f"{PREFIX}old", "iat-projects/420/theirs", "theirs"):
        put_directly(direct, key, b"x")

    await ends.sync()
    assert (ends.result.extra, ends.result.deleted) == (1, 0)
    await ends.sync(delete_extra=True)

    assert (ends.result.extra, ends.result.deleted) == (0, 1)
    assert (ends.result.extra_names, ends.result.delete_names) == ([], ["old"])
    assert await ends.keys("") == [f"{PREFIX}a", "iat-projects/420/theirs", "theirs"]


async def test_an_object_whose_file_came_back_meanwhile_is_kept(ends: Ends, direct: str) -> None:
    ends.write(a="one")
    put_directly(direct, f"{PREFIX}late", b"x")
    put_directly(direct, f"{PREFIX}link", b"x")
    (ends.root / "link").symlink_to("a")

    async def comes_back(asked: Asked, _: web.Request) -> None:
        if asked.method == "PUT":
            ends.write(late="y")

    ends.double.rule = comes_back
    await ends.sync(delete_extra=True)

    assert await ends.keys() == ["a", "late", "link"]


async def test_an_empty_folder_deletes_nothing(ends: Ends, direct: str) -> None:
    put_directly(direct, f"{PREFIX}picture", b"x")

    with pytest.raises(WouldDeleteAllError, match="all 1 objects"):
        await ends.sync(delete_extra=True)

    assert await ends.keys() == ["picture"]


async def test_an_object_with_a_foreign_etag_is_known_by_its_sha256(ends: Ends) -> None:
    ends.write(a=large(), b="two")
    upload_id = await ends.bucket.begin_upload(f"{PREFIX}a", sha256=None)
    tag = await ends.bucket.put_part(f"{PREFIX}a", upload_id, 1, large())
    await ends.bucket.complete_upload(f"{PREFIX}a", upload_id, [BucketPart(number=1, etag=tag)])
    await ends.sync()
    assert ends.result.copied == 2, "cut otherwise and without a checksum of ours"

    await ends.sync()

    assert (ends.result.copied, ends.result.equal) == (0, 2)


async def test_a_large_file_goes_in_parts_and_is_known_again(ends: Ends) -> None:
    ends.write(big=large())

    await ends.sync()
    assert sorted(ends.double.parts()) == [1, 2, 3]
    assert (ends.result.parts_sent, ends.result.parts_kept) == (3, 0)
    assert await ends.content("big") == large()
    await ends.sync()

    assert (ends.result.copied, ends.result.equal) == (0, 1)
    assert {asked.method for asked in ends.double.asked} == {"GET"}


async def test_finished_parts_are_not_sent_again(ends: Ends) -> None:
    ends.write(big=large())

    async def last_part_fails(asked: Asked, _: web.Request) -> Verdict:
        if asked.part != 3:
            return None
        await ends.double.until(lambda: sorted(ends.double.parts()) == [1, 2])
        return refusal(500, "InternalError")

    ends.double.rule = last_part_fails
    with pytest.raises(StoreUnavailableError, match="500"):
        await ends.sync()
    assert await ends.keys() == []
    ends.double.rule = None

    await ends.sync()

    assert ends.double.parts() == [3]
    assert (ends.result.parts_kept, ends.result.parts_sent) == (2, 1)
    assert await ends.content("big") == large()
    assert [upload async for upload in ends.bucket.list_uploads(PREFIX)] == []


async def test_parts_of_other_content_are_given_up(ends: Ends) -> None:
    ends.write(big=large())
    upload_id = await ends.bucket.begin_upload(f"{PREFIX}big", sha256="0" * 64)
    ends.notes.uploads[upload_id] = "0" * 64
    await ends.bucket.put_part(f"{PREFIX}big", upload_id, 1, large()[: 5 * MIB])
    await ends.bucket.begin_upload(f"{PREFIX}gone", sha256="0" * 64)

    await ends.sync()

    assert sorted(ends.double.parts()) == [1, 2, 3]
    assert [upload async for upload in ends.bucket.list_uploads(PREFIX)] == []
    head = await ends.bucket.head(f"{PREFIX}big")
    assert head is not None
    assert head.sha256 != "0" * 64


async def test_a_damaged_part_is_sent_again(ends: Ends) -> None:
    ends.write(big=large())
    digest = hashlib.sha256(large()).hexdigest()
    upload_id = await ends.bucket.begin_upload(f"{PREFIX}big", sha256=digest)
    ends.notes.uploads[upload_id] = digest
    await ends.bucket.put_part(f"{PREFIX}big", upload_id, 1, large(seed=9)[: 5 * MIB])
    await ends.bucket.put_part(f"{PREFIX}big", upload_id, 2, large()[5 * MIB : 10 * MIB])

    await ends.sync()

    assert sorted(ends.double.parts()) == [1, 3]
    assert await ends.content("big") == large()


async def test_a_file_that_is_always_changing_is_reported_and_the_others_are_sent(ends: Ends) -> None:
    ends.write(a="one", busy=large(21 * MIB))  # one part more than is under way at a time
    given_up: set[str] = set()
    seeds = itertools.count(1)

    async def changes(asked: Asked, _: web.Request) -> None:
        if asked.part is not None:
            ends.write(busy=large(21 * MIB, seed=next(seeds) % 256))
        if asked.method == "DELETE":
            given_up.add(asked.query["uploadId"])

    ends.double.rule = changes
    with pytest.raises(
        FilesLeftOutError, match=r"1 of 2 files could not be copied.*'busy' changed"
    ) as caught:
        await ends.sync(delete_extra=True)

    assert caught.value.retryable
    assert await ends.keys() == ["a"]
    assert given_up == set(ends.notes.uploads)

    ends.double.rule = None
    await ends.sync()
    assert await ends.keys() == ["a", "busy"]
    # The server sometimes answers 500 to one that gives up an upload whose parts still come in.
    assert [upload async for upload in ends.bucket.list_uploads(PREFIX)] == []


async def test_a_file_that_goes_meanwhile_is_no_failure(ends: Ends) -> None:
    ends.write(a="one", z="two")

    async def goes(*_: object) -> None:
        (ends.root / "z").unlink(missing_ok=True)

    ends.double.rule = goes
    await ends.sync()

    assert await ends.keys() in (["a"], ["a", "z"])


@pytest.mark.parametrize(
    ("status", "code"), [(400, "InvalidObjectName"), (400, "KeyTooLongError"), (404, "NoSuchKey")]
)
async def test_an_object_that_is_refused_keeps_no_other_back(ends: Ends, status: int, code: str) -> None:
    ends.write(a="one", bad="two", big=large(), c="three")

    async def refuses(asked: Asked, _: web.Request) -> Verdict:
        is_refused = asked.path.endswith("/bad") or (asked.path.endswith("/big") and asked.method == "POST")
        return refusal(status, code) if is_refused else None

    ends.double.rule = refuses
    with pytest.raises(FilesLeftOutError, match=rf"2 of 4 files.*answered {status} \({code}\)") as caught:
        await ends.sync()

    assert not caught.value.retryable
    assert await ends.keys() == ["a", "c"]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_names_that_make_no_key_are_reported(ends: Ends, *, dry_run: bool) -> None:
    ends.write(a="one")
    deep = ends.root.joinpath(*["d" * 250] * 5)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    os.close(os.open(os.fsencode(ends.root) + b"/\xff", os.O_CREAT | os.O_WRONLY))

    with pytest.raises(FilesLeftOutError) as caught:
        await ends.sync(dry_run=dry_run)

    assert not caught.value.retryable
    assert ends.result.left_out == 2
    assert "not valid UTF-8" in ends.result.problems[0]
    assert ends.result.copy_names == (["a"] if dry_run else [])
    assert await ends.keys() == ([] if dry_run else ["a"])


async def test_a_bucket_that_is_not_there_is_said_by_name(ends: Ends) -> None:
    ends.write(a="one")
    async with open_bucket("nobodys-bucket", ends.access, guard=None, connections=4) as bucket:
        with pytest.raises(BucketNotFoundError, match="nobodys-bucket"):
            await mirror(
                bucket,
                ends.tree,
                prefix=PREFIX,
                at_once=4,
                notes=ends.notes,
                progress=Progress(),
                result=SyncResult(),
            )
    assert SMALL.is_large(12 * MIB)
