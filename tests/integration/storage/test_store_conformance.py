"""What every store must do, over each store.

Every test is a coroutine, so that all share one event loop and with it one S3 client: making one takes
longer than any of them.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from kroma.storage.base import ObjectEnds, ObjectStore, ProjectStores
from kroma.storage.directory import DirectoryStore, DirectoryStores
from kroma.storage.errors import (
    ChecksumMismatchError,
    ObjectNotFoundError,
    ObjectTooLargeError,
    OutsideProjectError,
    StoreUnavailableError,
    UnusableNameError,
)
from kroma.storage.s3 import PART_BYTES, S3Store, S3Stores
from support.doubles.memory_store import MemoryStore, MemoryStores
from support.servers.s3_server import access_to, new_bucket

pytestmark = [pytest.mark.timeout(30), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def kept_bucket(s3_server: str) -> str:
    return new_bucket(s3_server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def s3_stores(s3_server: str, kept_bucket: str) -> AsyncIterator[S3Stores]:
    stores = S3Stores(kept_bucket, "iat-projects", access_to(s3_server))
    yield stores
    await stores.close()


@pytest.fixture(params=["directory", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    match request.param:
        case "directory":
            return DirectoryStore(tmp_path / "project")
        case "memory":
            return MemoryStore(str(tmp_path / "project"))
        case _:
            stores: S3Stores = request.getfixturevalue("s3_stores")
            return stores.open(stores.locate(project_id=uuid4(), slug="project", storage=None))


async def test_a_store_is_one_by_its_protocol(store: ObjectStore) -> None:
    assert isinstance(store, ObjectStore)


@pytest.mark.parametrize("stores", [DirectoryStores(Path("data"), allow_any_root=True), MemoryStores()])
async def test_opening_stores_is_a_protocol_too(stores: ProjectStores) -> None:
    assert isinstance(stores, ProjectStores)
    assert not stores.hosted


async def test_a_bucket_of_stores_is_one_by_the_protocol(s3_stores: S3Stores) -> None:
    assert isinstance(s3_stores, ProjectStores)
    assert s3_stores.hosted


@pytest.mark.parametrize("kind", ["directory", "memory", "s3"])
async def test_what_is_the_installations_own_is_found_again_and_no_projects(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    stores: ProjectStores
    match kind:
        case "directory":
            stores = DirectoryStores(tmp_path, allow_any_root=False)
        case "memory":
            stores = MemoryStores()
        case _:
            stores = request.getfixturevalue("s3_stores")
    folder = f"own{uuid4().hex}"
    await stores.open_own(folder).put("a", b"kept")

    assert await stores.open_own(folder).get("a", limit_bytes=4) == b"kept"
    project = stores.open(stores.locate(project_id=uuid4(), slug=folder, storage=None))
    assert await project.list_keys("") == []
    assert [file.key async for file in stores.open_own(folder).list_objects("")] == ["a"]


async def test_what_was_put_is_read_back_whole(store: ObjectStore) -> None:
    stored = await store.put("outputs/r/a.png", b"pixels")

    assert await store.get("outputs/r/a.png", limit_bytes=6) == b"pixels"
    assert stored.size_bytes == 6
    assert stored.sha256 == hashlib.sha256(b"pixels").hexdigest()
    assert stored.key == "outputs/r/a.png"


async def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    await store.put("a.png", b"first, and longer")
    await store.put("a.png", b"second")

    assert await store.get("a.png", limit_bytes=100) == b"second"
    assert await store.list_keys("") == ["a.png"]


async def test_the_checksum_is_that_of_the_bytes_as_they_are_now(store: ObjectStore) -> None:
    put = [await store.put("a.png", data) for data in (b"first", b"other")]

    assert await store.checksum("a.png") == put[1].sha256 == sha256_of(b"other")
    assert await store.checksum("b.png") is None
    assert await store.checksum("") is None


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put("empty", b"")

    assert await store.size("empty") == 0
    assert await store.get("empty", limit_bytes=0) == b""


async def test_reading_stops_at_the_limit(store: ObjectStore) -> None:
    await store.put("a.png", b"12345")

    with pytest.raises(ObjectTooLargeError, match="has 5 bytes; the limit is 4"):
        await store.get("a.png", limit_bytes=4)


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        pytest.param(3, 2, (b"012", b"89"), id="apart"),
        pytest.param(8, 8, (b"01234567", b"23456789"), id="overlapping"),
        pytest.param(50, 2, (b"0123456789", b"89"), id="head covers all"),
    ],
)
async def test_both_ends_are_read_at_once(
    store: ObjectStore, head: int, tail: int, expected: tuple[bytes, bytes]
) -> None:
    await store.put("a", b"0123456789")

    (ends,) = await store.read_ends(["a"], head_bytes=head, tail_bytes=tail)

    assert isinstance(ends, ObjectEnds)
    assert (ends.size_bytes, ends.head, ends.tail) == (10, *expected)


async def test_both_ends_of_nothing_are_nothing(store: ObjectStore) -> None:
    await store.put("a", b"")

    assert await store.read_ends(["a"], head_bytes=4, tail_bytes=4) == [
        ObjectEnds(size_bytes=0, head=b"", tail=b"")
    ]


async def test_one_bad_key_does_not_keep_the_others_ends_back(store: ObjectStore) -> None:
    await store.put("a", b"x")

    first, missing, outside, last = await store.read_ends(
        ["a", "missing", "../a", "a"], head_bytes=4, tail_bytes=4
    )

    assert first == last == ObjectEnds(size_bytes=1, head=b"x", tail=b"x")
    assert isinstance(missing, ObjectNotFoundError)
    assert isinstance(outside, OutsideProjectError)


@pytest.mark.parametrize("key", ["missing.png", "a.png/below", "folder", "n" * 5000])
async def test_a_key_without_an_object_is_not_found(store: ObjectStore, key: str) -> None:
    await store.put("a.png", b"x")
    await store.put("folder/b.png", b"x")

    assert await store.size(key) is None
    with pytest.raises(ObjectNotFoundError):
        await store.get(key, limit_bytes=1)
    (ends,) = await store.read_ends([key], head_bytes=1, tail_bytes=1)
    assert isinstance(ends, ObjectNotFoundError)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="the project itself"),
        pytest.param("folder", id="a folder"),
        pytest.param("folder/b.png/c.png", id="below a file"),
    ],
)
async def test_a_put_where_no_file_can_be_is_refused(store: ObjectStore, key: str) -> None:
    await store.put("folder/b.png", b"x")

    if key and isinstance(store, S3Store):  # a bucket has no folders that a name could stand in the way of
        await store.put(key, b"y")
        assert await store.list_keys("") == sorted(["folder/b.png", key])
        return
    with pytest.raises(StoreUnavailableError):
        await store.put(key, b"y")
    with pytest.raises(StoreUnavailableError):
        await store.put_stream(key, arriving(b"y"), limit_bytes=1)
    assert await store.list_keys("") == ["folder/b.png"]


async def test_keys_are_listed_by_name_in_byte_order_depth_first(store: ObjectStore) -> None:
    for key in ("b.png", "a/z.png", "a.png", "a/b/c.png", "a/B.png", ".hidden/x.png", "é.png", "Z.png"):
        await store.put(f"in/{key}", b"x")
    await store.put("inside.png", b"x")

    assert await store.list_keys("in") == [
        "in/.hidden/x.png",
        "in/Z.png",
        "in/a/B.png",
        "in/a/b/c.png",
        "in/a/z.png",
        "in/a.png",
        "in/b.png",
        "in/é.png",
    ]


@pytest.mark.parametrize("prefix", ["", "nothing", "a.png"])
async def test_a_prefix_that_is_no_folder_has_no_keys_below(store: ObjectStore, prefix: str) -> None:
    await store.put("a.png", b"x")

    assert await store.list_keys(prefix) == (["a.png"] if not prefix else [])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param("", True, id="the project"),
        pytest.param("in", True, id="a folder"),
        pytest.param("in/deep", True, id="a folder in it"),
        pytest.param("in/deep/a.png", False, id="a file"),
        pytest.param("i", False, id="the beginning of a name"),
        pytest.param("nothing", False, id="nothing"),
    ],
)
async def test_folders_are_told_from_files(store: ObjectStore, key: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    await store.put("in/deep/a.png", b"x")

    assert await store.is_folder(key) is expected


async def test_a_move_takes_the_object_along(store: ObjectStore) -> None:
    await store.put("outputs/a.png", b"x")

    await store.move("outputs/a.png", "archive/bad/a_bad.png")

    assert await store.list_keys("") == ["archive/bad/a_bad.png"]


async def test_a_move_done_before_is_no_error(store: ObjectStore) -> None:
    await store.put("archive/a.png", b"x")

    await store.move("outputs/a.png", "archive/a.png")

    assert await store.get("archive/a.png", limit_bytes=1) == b"x"


async def test_a_move_of_nothing_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFoundError):
        await store.move("outputs/a.png", "archive/a.png")


@pytest.mark.parametrize(
    ("ref", "key"),
    [
        pytest.param("a.png", "a.png", id="a name"),
        pytest.param("./in//deep/./a.png", "in/deep/a.png", id="superfluous segments"),
        pytest.param("references/", "references", id="a trailing slash"),
        pytest.param(".", "", id="the project"),
        pytest.param("{root}/in/a.png", "in/a.png", id="absolute inside"),
        pytest.param("{root}", "", id="the project, absolute"),
        pytest.param("in/..a.png", "in/..a.png", id="two dots in a name"),
        pytest.param("~/a.png", "~/a.png", id="a tilde is a name"),
        pytest.param("a\\b.png", "a\\b.png", id="a backslash is part of a name"),
    ],
)
async def test_a_ref_inside_the_project_has_a_key(store: ObjectStore, ref: str, key: str) -> None:
    assert store.key_of(ref.format(root=store.location)) == key


@pytest.mark.parametrize(
    "ref",
    [
        pytest.param("../a.png", id="above"),
        pytest.param("in/../../a.png", id="above by a detour"),
        pytest.param("in/../a.png", id="a detour that would stay inside"),
        pytest.param("in/..", id="ends in two dots"),
        pytest.param("/etc/passwd", id="absolute elsewhere"),
        pytest.param("{root}-other/a.png", id="absolute in a sibling of like name"),
        pytest.param("{root}/../a.png", id="absolute, above"),
        pytest.param("a\0.png", id="a NUL"),
    ],
)
async def test_a_ref_that_leads_elsewhere_is_refused(store: ObjectStore, ref: str) -> None:
    with pytest.raises(OutsideProjectError) as caught:
        store.key_of(ref.format(root=store.location))

    assert caught.value.code == "path_outside_project"
    assert "\0" not in caught.value.message


@pytest.mark.parametrize(
    "method",
    [
        "put",
        "put_stream",
        "get",
        "open_stream",
        "size",
        "list_keys",
        "list_objects",
        "is_folder",
        "move",
        "delete",
    ],
)
async def test_no_operation_leaves_the_project(store: ObjectStore, method: str) -> None:
    calls = {
        "put": lambda: store.put("../x", b""),
        "put_stream": lambda: store.put_stream("../x", arriving(), limit_bytes=1),
        "get": lambda: store.get("../x", limit_bytes=1),
        "open_stream": lambda: read_all(store, "../x"),
        "list_objects": lambda: anext(aiter(store.list_objects("../x"))),
        "delete": lambda: store.delete(["../x"]),
        "size": lambda: store.size("../x"),
        "list_keys": lambda: store.list_keys("../x"),
        "is_folder": lambda: store.is_folder("../x"),
        "move": lambda: store.move("../x", "y"),
    }

    with pytest.raises(OutsideProjectError):
        await calls[method]()


async def test_a_ref_that_is_no_utf8_is_refused(store: ObjectStore) -> None:
    with pytest.raises(UnusableNameError, match="not valid UTF-8"):
        store.key_of("a\udcff.png")


async def test_a_new_place_is_made_writable(store: ObjectStore) -> None:
    await store.check_writable()

    assert await store.list_keys("") == []
    await store.put("outputs/a.png", b"x")


async def test_an_address_names_the_key(store: ObjectStore) -> None:
    address = store.uri("outputs/a.png")

    assert address.removeprefix("file://").removeprefix("memory://") == f"{store.location}/outputs/a.png"
    assert store.backend == ("s3" if address.startswith("s3://") else "local")


async def test_a_stream_is_put_and_read_back(store: ObjectStore) -> None:
    stored = await store.put_stream("a.png", arriving(b"pix", b"", b"els"), limit_bytes=6)

    assert (stored.key, stored.size_bytes) == ("a.png", 6)
    assert stored.sha256 == sha256_of(b"pixels")
    assert await read_all(store, "a.png") == (6, b"pixels")


async def test_a_stream_of_nothing_is_an_empty_object(store: ObjectStore) -> None:
    stored = await store.put_stream("empty", arriving(), limit_bytes=0)

    assert stored.sha256 == sha256_of(b"")
    assert await read_all(store, "empty") == (0, b"")


async def test_a_large_stream_passes_in_pieces(store: ObjectStore) -> None:
    block = bytes(range(256)) * 4096
    blocks = PART_BYTES * 2 // len(block) + 1
    whole = block * blocks

    stored = await store.put_stream("big.bin", arriving(*[block] * blocks), limit_bytes=len(whole))
    replaced = await store.put_stream(
        "big.bin", arriving(whole), limit_bytes=len(whole), sha256=stored.sha256.upper()
    )

    assert stored == replaced
    assert (stored.size_bytes, stored.sha256) == (len(whole), sha256_of(whole))
    assert await store.get("big.bin", limit_bytes=len(whole)) == whole
    async with store.open_stream("big.bin") as stream:
        sizes = [len(chunk) async for chunk in stream.chunks]
    assert max(sizes) <= 1024**2


@pytest.mark.parametrize("size", [5, PART_BYTES * 2 + 1])
async def test_a_stream_past_its_limit_leaves_nothing(store: ObjectStore, size: int) -> None:
    with pytest.raises(ObjectTooLargeError, match="the limit is"):
        await store.put_stream("a.png", arriving(b"x" * (size - 1), b"xx"), limit_bytes=size)

    assert await store.list_keys("") == []
    assert await store.size("a.png") is None


@pytest.mark.parametrize("size", [1, PART_BYTES * 2 + 1])
async def test_a_stream_that_breaks_leaves_what_was_there(store: ObjectStore, size: int) -> None:
    await store.put("a.png", b"before")

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * size
        message = "the sender went away"
        raise ConnectionResetError(message)

    with pytest.raises(ConnectionResetError):
        await store.put_stream("a.png", breaking(), limit_bytes=2 * size)

    assert await store.get("a.png", limit_bytes=6) == b"before"
    assert await store.list_keys("") == ["a.png"]


async def test_a_stream_that_is_cancelled_leaves_nothing(store: ObjectStore) -> None:
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * (PART_BYTES * 2)
        arrived.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(store.put_stream("a.png", endless(), limit_bytes=PART_BYTES * 3))
    await arrived.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert await store.list_keys("") == []
    await store.put("a.png", b"x")


@pytest.mark.parametrize("size", [1, PART_BYTES * 2])
async def test_other_bytes_than_expected_are_not_kept(store: ObjectStore, size: int) -> None:
    with pytest.raises(ChecksumMismatchError, match=r"a\.png"):
        await store.put("a.png", b"x" * size, sha256="0" * 64)
    with pytest.raises(ChecksumMismatchError):
        await store.put_stream("a.png", arriving(b"x" * size, b"y"), limit_bytes=size + 1, sha256="0" * 64)

    assert await store.list_keys("") == []


async def test_a_read_of_other_bytes_than_expected_is_damaged(store: ObjectStore) -> None:
    await store.put("a.png", b"pixels", sha256=sha256_of(b"pixels"))

    assert await store.get("a.png", limit_bytes=6, sha256=sha256_of(b"pixels").upper()) == b"pixels"
    with pytest.raises(ChecksumMismatchError):
        await store.get("a.png", limit_bytes=6, sha256=sha256_of(b"others"))
    with pytest.raises(ChecksumMismatchError):
        async with store.open_stream("a.png", sha256=sha256_of(b"others")) as stream:
            [chunk async for chunk in stream.chunks]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        pytest.param(0, None, b"0123456789", id="all of it"),
        pytest.param(0, 10, b"0123456789", id="all of it, by its length"),
        pytest.param(0, 3, b"012", id="the beginning"),
        pytest.param(7, None, b"789", id="to the end"),
        pytest.param(7, 100, b"789", id="past the end"),
        pytest.param(10, None, b"", id="behind the end"),
    ],
)
async def test_a_part_is_streamed_with_the_size_of_the_whole(
    store: ObjectStore, start: int, length: int | None, expected: bytes
) -> None:
    await store.put("a", b"0123456789")

    async with store.open_stream("a", start=start, length=length, sha256=sha256_of(b"0123456789")) as stream:
        part = b"".join([chunk async for chunk in stream.chunks])

    assert (stream.size_bytes, part) == (10, expected)


@pytest.mark.parametrize("key", ["nothing", "folder", ""])
async def test_a_stream_of_nothing_that_is_there_is_not_found(store: ObjectStore, key: str) -> None:
    await store.put("folder/a", b"x")

    with pytest.raises(ObjectNotFoundError):
        async with store.open_stream(key):
            pass
    with pytest.raises(ObjectNotFoundError):
        async with store.open_stream(key, start=3, length=4):
            pass


async def test_objects_are_listed_with_their_sizes(store: ObjectStore) -> None:
    await store.put("in/a", b"1")
    await store.put("in/deep/b", b"22")
    await store.put("inside", b"333")

    listed = [found async for found in store.list_objects("in")]

    assert sorted((found.key, found.size_bytes) for found in listed) == [("in/a", 1), ("in/deep/b", 2)]
    assert [found async for found in store.list_objects("nothing")] == []


async def test_what_is_deleted_is_gone_and_the_rest_stays(store: ObjectStore) -> None:
    for key in ("in/a", "in/b", "in/c"):
        await store.put(key, b"x")

    await store.delete(["in/a", "in/c", "in/never", "in", "in/a/below", ""])
    await store.delete([])

    assert await store.list_keys("") == ["in/b"]
    assert await store.size("in/a") is None


async def test_a_move_onto_itself_changes_nothing(store: ObjectStore) -> None:
    await store.put("a.png", b"x")

    await store.move("a.png", "a.png")

    assert await store.get("a.png", limit_bytes=1) == b"x"


async def test_a_move_keeps_the_checksum(store: ObjectStore) -> None:
    stored = await store.put("a.png", b"pixels")

    await store.move("a.png", "b.png")

    assert await store.get("b.png", limit_bytes=6, sha256=stored.sha256) == b"pixels"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read_all(store: ObjectStore, key: str) -> tuple[int, bytes]:
    async with store.open_stream(key) as stream:
        return stream.size_bytes, b"".join([chunk async for chunk in stream.chunks])
