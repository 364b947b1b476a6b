"""What only a directory can get wrong."""

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kroma.storage.checksums import ChecksumMemory
from kroma.storage.directory import DirectoryStore, DirectoryStores
from kroma.storage.errors import (
    ObjectNotFoundError,
    OutsideProjectError,
    RootNotAllowedError,
    StoredElsewhereError,
    StoreFullError,
    StoreUnavailableError,
    UnusableNameError,
)

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    return outside


def sizes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """The disk is full for whatever grows past this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def entries_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


class Noting(ChecksumMemory):
    """Tells what had to be computed."""

    def __init__(self, *, tick_s: float = 2.0) -> None:
        super().__init__(tick_s=tick_s)
        self.computed: list[str] = []

    def put(self, key: str, version: str, sha256: str) -> None:
        self.computed.append(sha256)
        super().put(key, version, sha256)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_a_full_disk_leaves_nothing_behind(store: DirectoryStore, root: Path) -> None:
    with files_of_at_most(1000), pytest.raises(StoreFullError, match=r"outputs/a\.png") as caught:
        await store.put("outputs/a.png", b"x" * 5000)

    assert caught.value.code == "store_full"
    assert not caught.value.retryable
    assert files_below(root) == []


@pytest.mark.parametrize("turns", range(1, 4))
@pytest.mark.parametrize("method", ["put", "put_stream"])
async def test_a_canceled_put_is_over_when_it_ends(
    store: DirectoryStore, root: Path, method: str, turns: int
) -> None:
    data = b"x" * 1_000_000

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    for _ in range(5):
        streamed = method == "put_stream"
        put = (
            store.put_stream("a.png", chunks(), limit_bytes=len(data))
            if streamed
            else store.put("a.png", data)
        )
        putting = asyncio.create_task(put)
        for _ in range(turns):
            await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting

        left = sizes_in(root)
        assert left in ({}, {"a.png": len(data)})
        await asyncio.sleep(0.02)
        assert sizes_in(root) == left
        await store.delete(["a.png"])


async def test_a_full_disk_keeps_the_object_that_was_there(store: DirectoryStore, root: Path) -> None:
    await store.put("a.png", b"before")

    with files_of_at_most(1000), pytest.raises(StoreFullError):
        await store.put("a.png", b"x" * 5000)

    assert files_below(root) == ["a.png"]
    assert await store.get("a.png", limit_bytes=100) == b"before"


async def test_a_checksum_is_computed_once_and_after_each_change(root: Path) -> None:
    memory = Noting(tick_s=-1.0)
    store = DirectoryStore(root, memory=memory)
    await store.put("a.png", b"first")
    known = [await store.checksum("a.png") for _ in range(3)]
    (root / "a.png").write_bytes(b"other")
    changed = [await store.checksum("a.png") for _ in range(3)]

    assert memory.computed == [known[0], changed[0]] == [sha256_of(b"first"), sha256_of(b"other")]
    assert (len(set(known)), len(set(changed))) == (1, 1)


async def test_the_checksum_of_a_file_that_has_just_changed_is_not_believed_later(root: Path) -> None:
    memory = Noting()
    store = DirectoryStore(root, memory=memory)
    await store.put("a.png", b"first")

    assert await store.checksum("a.png") == sha256_of(b"first")
    assert memory.computed == []


def test_a_memory_of_checksums_is_bounded() -> None:
    memory = ChecksumMemory()
    for number in range(10_000):
        memory.put(str(number), "1", "a")

    assert sum(memory.get(str(number), "1") is not None for number in range(10_000)) <= 4096
    assert memory.get("9999", "1") == "a"
    assert memory.get("9999", "2") is None


async def test_a_link_is_deleted_and_not_what_it_leads_to(store: DirectoryStore, root: Path) -> None:
    (root / "in").mkdir()
    (root / "in" / "a.png").write_bytes(b"kept")
    (root / "link.png").symlink_to("in/a.png")
    (root / "out.png").symlink_to("/etc/hostname")
    (root / "folder").symlink_to("in")
    await store.delete(["link.png", "out.png", "folder", "none/x.png", ""])

    assert files_below(root) == ["in/a.png"]
    assert names_in(root) == ["in"]


async def test_a_root_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = DirectoryStore(tmp_path / "file" / "project")

    with pytest.raises(StoreUnavailableError, match="Not a directory"):
        await store.check_writable()
    with pytest.raises(StoreUnavailableError):
        await store.put("a.png", b"x")
    assert await store.size("a.png") is None


@pytest.mark.parametrize("name", ["outputs", "runs", "archive"])
async def test_a_folder_that_is_a_file_is_found_before_a_run(
    store: DirectoryStore, root: Path, name: str
) -> None:
    (root / name).write_bytes(b"")

    with pytest.raises(StoreUnavailableError):
        await store.check_writable()


async def test_a_folder_that_leads_outside_is_found_before_a_run(
    store: DirectoryStore, root: Path, outside: Path
) -> None:
    (root / "outputs").symlink_to(outside)

    with pytest.raises(OutsideProjectError):
        await store.check_writable()


async def test_the_folders_of_a_run_are_made_and_the_probe_goes_away(
    store: DirectoryStore, root: Path
) -> None:
    await store.check_writable()
    await store.check_writable()

    assert entries_below(root) == ["archive", "archive/bad", "outputs", "runs"]


@pytest.mark.parametrize(
    "ref",
    [
        pytest.param("link.png", id="a file"),
        pytest.param("folder/secret.png", id="through a folder"),
        pytest.param("folder", id="the folder itself"),
        pytest.param("folder/new.png", id="a file that does not exist yet"),
        pytest.param("chain.png", id="a link to a link"),
    ],
)
async def test_a_symlink_out_of_the_root_is_refused(
    store: DirectoryStore, root: Path, outside: Path, ref: str
) -> None:
    (root / "link.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "chain.png").symlink_to(root / "link.png")

    with pytest.raises(OutsideProjectError, match=ref):
        await store.get(ref, limit_bytes=100)
    with pytest.raises(OutsideProjectError):
        await store.list_keys(ref)
    (ends,) = await store.read_ends([ref], head_bytes=1, tail_bytes=1)
    assert isinstance(ends, OutsideProjectError)
    with pytest.raises(OutsideProjectError):
        await store.put(ref, b"x")
    assert files_below(outside) == ["secret.png"]


async def test_a_symlink_that_stays_inside_is_followed(store: DirectoryStore, root: Path) -> None:
    await store.put("real/a.png", b"x")
    (root / "alias").symlink_to(root / "real")

    assert store.key_of("alias/a.png") == "alias/a.png"
    assert await store.get("alias/a.png", limit_bytes=1) == b"x"


async def test_a_symlink_in_a_circle_is_no_picture(store: DirectoryStore, root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")

    with pytest.raises((StoreUnavailableError, ObjectNotFoundError)):
        await store.get(store.key_of("a"), limit_bytes=1)


async def test_a_root_behind_a_symlink_is_a_root(tmp_path: Path, root: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(root)
    store = DirectoryStore(alias)
    await store.put("a.png", b"x")

    assert store.key_of(f"{alias}/a.png") == "a.png"
    assert await store.get("a.png", limit_bytes=1) == b"x"
    assert files_below(root) == ["a.png"]
    assert store.location == str(alias)


async def test_symlinks_and_our_own_unfinished_files_are_not_listed(
    store: DirectoryStore, root: Path, outside: Path
) -> None:
    await store.put("in/a.png", b"x")
    await store.put("in/.hidden.png", b"x")
    (root / "in" / "link.png").symlink_to(root / "in" / "a.png")
    (root / "in" / "away").symlink_to(outside)
    (root / "in" / ".kroma-put-0123456789abcdef").write_bytes(b"half of a pict")

    assert await store.list_keys("in") == ["in/.hidden.png", "in/a.png"]


async def test_a_name_that_is_no_utf8_is_named_and_not_passed_on(store: DirectoryStore, root: Path) -> None:
    (root / "in").mkdir()
    with os.fdopen(os.open(os.fsencode(root) + b"/in/\xff.png", os.O_CREAT | os.O_WRONLY), "wb") as file:
        file.write(b"x")

    with pytest.raises(UnusableNameError, match=r"'\\xff\.png' is not valid UTF-8") as caught:
        await store.list_keys("in")

    assert caught.value.message.encode()


async def test_a_pipe_is_no_picture_and_holds_nobody_up(store: DirectoryStore, root: Path) -> None:
    os.mkfifo(root / "pipe.png")

    with pytest.raises(ObjectNotFoundError):
        await store.get("pipe.png", limit_bytes=1)
    assert await store.list_keys("") == []


async def test_readers_see_a_whole_object_while_it_is_replaced(store: DirectoryStore) -> None:
    contents = [bytes([n]) * 100_000 for n in range(8)]
    await store.put("a.png", contents[0])

    async def rewrite() -> None:
        for content in contents:
            await store.put("a.png", content)

    async def read() -> None:
        for _ in range(40):
            assert await store.get("a.png", limit_bytes=100_000) in contents

    await asyncio.gather(rewrite(), read())


async def test_two_writers_of_one_key_leave_one_whole_object(store: DirectoryStore, root: Path) -> None:
    contents = [bytes([n]) * 50_000 for n in range(8)]

    await asyncio.gather(*(store.put("new/deep/a.png", content) for content in contents))

    assert files_below(root) == ["new/deep/a.png"]
    assert await store.get("new/deep/a.png", limit_bytes=50_000) in contents


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        pytest.param("data/var/projects/a", True, id="below the data directory"),
        pytest.param("elsewhere", False, id="beside it"),
        pytest.param("data/../elsewhere", False, id="out of it again"),
        pytest.param("data/alias/a", False, id="through a symlink"),
        pytest.param("data", False, id="the data directory itself"),
    ],
)
async def test_a_root_outside_the_data_directory_needs_leave(
    tmp_path: Path,
    location: str,
    allowed: bool,  # noqa: FBT001 - a table's column
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "alias").symlink_to(tmp_path / "elsewhere")
    root = str(tmp_path / location)

    anywhere = DirectoryStores(tmp_path / "data", allow_any_root=True)
    assert anywhere.open(root).location == os.path.abspath(root)  # noqa: PTH100, ASYNC240 - as the store does
    guarded = DirectoryStores(tmp_path / "data", allow_any_root=False)
    if allowed:
        await guarded.open(root, real_root=guarded.resolve(root)).check_writable()
        return
    with pytest.raises(RootNotAllowedError, match="KROMA_ALLOW_ANY_ROOT"):
        await guarded.open(root).check_writable()
    with pytest.raises(RootNotAllowedError):
        await guarded.open(root).put("a.png", b"x")
    with pytest.raises(RootNotAllowedError):
        await guarded.open(root).read_ends(["a.png"], head_bytes=1, tail_bytes=1)
    assert files_below(tmp_path) == []


async def test_files_that_are_in_a_bucket_are_refused_by_every_operation(tmp_path: Path) -> None:
    location = "s3://comics/iat-projects/1"
    store = DirectoryStores(tmp_path, allow_any_root=True).open(location)

    assert store.location == location
    for operation in (store.put("a", b""), store.size("a"), store.list_keys(""), store.check_writable()):
        with pytest.raises(StoredElsewhereError, match=location):
            await operation
    assert entries_below(tmp_path) == []
