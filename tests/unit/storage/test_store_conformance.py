"""What every store must do, over each store."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from kroma.storage.base import ObjectEnds, ObjectStore, ProjectStores
from kroma.storage.directory import DirectoryStore, DirectoryStores
from kroma.storage.errors import (
    ObjectNotFoundError,
    ObjectTooLargeError,
    OutsideProjectError,
    StoreUnavailableError,
    UnusableNameError,
)
from kroma.storage.memory import MemoryStore, MemoryStores

pytestmark = pytest.mark.timeout(30)

STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "directory": DirectoryStore,
    "memory": lambda root: MemoryStore(str(root)),
}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return STORES[request.param](tmp_path / "project")


def test_a_store_is_one_by_its_protocol(store: ObjectStore) -> None:
    assert isinstance(store, ObjectStore)


@pytest.mark.parametrize("stores", [DirectoryStores(Path("data"), allow_any_root=True), MemoryStores()])
def test_opening_stores_is_a_protocol_too(stores: ProjectStores) -> None:
    assert isinstance(stores, ProjectStores)


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


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    await store.put("empty", b"")

    assert await store.size("empty") == 0
    assert await store.get("empty", limit_bytes=0) == b""


async def test_reading_stops_at_the_limit(store: ObjectStore) -> None:
    await store.put("a.png", b"12345")

    with pytest.raises(ObjectTooLargeError, match="has 5 bytes; the limit is 4"):
        await store.get("a.png", limit_bytes=4)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        pytest.param(0, 3, b"012", id="from the beginning"),
        pytest.param(7, 100, b"789", id="past the end"),
        pytest.param(-2, 2, b"89", id="from the end"),
        pytest.param(-100, 2, b"01", id="from further than the beginning"),
        pytest.param(50, 2, b"", id="behind the end"),
    ],
)
async def test_a_range_is_read(store: ObjectStore, start: int, length: int, expected: bytes) -> None:
    await store.put("a", b"0123456789")

    assert await store.get_range("a", start=start, length=length) == expected


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
    with pytest.raises(ObjectNotFoundError):
        await store.get_range(key, start=0, length=1)
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

    with pytest.raises(StoreUnavailableError):
        await store.put(key, b"y")
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
def test_a_ref_inside_the_project_has_a_key(store: ObjectStore, ref: str, key: str) -> None:
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
def test_a_ref_that_leads_elsewhere_is_refused(store: ObjectStore, ref: str) -> None:
    with pytest.raises(OutsideProjectError) as caught:
        store.key_of(ref.format(root=store.location))

    assert caught.value.code == "path_outside_project"
    assert "\0" not in caught.value.message


@pytest.mark.parametrize("method", ["put", "get", "size", "list_keys", "is_folder", "move"])
async def test_no_operation_leaves_the_project(store: ObjectStore, method: str) -> None:
    calls = {
        "put": lambda: store.put("../x", b""),
        "get": lambda: store.get("../x", limit_bytes=1),
        "size": lambda: store.size("../x"),
        "list_keys": lambda: store.list_keys("../x"),
        "is_folder": lambda: store.is_folder("../x"),
        "move": lambda: store.move("../x", "y"),
    }

    with pytest.raises(OutsideProjectError):
        await calls[method]()


def test_a_ref_that_is_no_utf8_is_refused(store: ObjectStore) -> None:
    with pytest.raises(UnusableNameError, match="not valid UTF-8"):
        store.key_of("a\udcff.png")


async def test_a_new_place_is_made_writable(store: ObjectStore) -> None:
    await store.check_writable()

    assert await store.list_keys("") == []
    await store.put("outputs/a.png", b"x")


def test_an_address_names_the_key(store: ObjectStore) -> None:
    assert store.uri("outputs/a.png").endswith("/project/outputs/a.png")
    assert store.backend == "local"
