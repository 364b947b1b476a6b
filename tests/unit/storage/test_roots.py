"""Where a project's root may be, and what a store does when it leads elsewhere later."""

import asyncio
from pathlib import Path

import pytest

from kroma.storage.directory import DirectoryStores
from kroma.storage.errors import RootMovedError, RootNotAllowedError, RootNotRegisteredError

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("var/projects/comic", "var/backend", "config", "run", "keys"):
        (folder / name).mkdir(parents=True)
    (folder / "keys" / "master.key").write_text("key")
    (folder / "token").write_text("token")
    (folder / "link").symlink_to("run")
    (folder / "up").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to("data/var")
    return folder


def stores(data: Path, *, anywhere: bool = True) -> DirectoryStores:
    return DirectoryStores(data, allow_any_root=anywhere, kept=[data / "keys" / "master.key"])


def resolved(data: Path, root: str, *, anywhere: bool = True) -> str | None:
    return stores(data, anywhere=anywhere).resolve(str(data / root))


@pytest.mark.parametrize(
    ("root", "registered"),
    [
        ("var/projects/comic", "var/projects/comic"),
        ("var/projects/comic/", "var/projects/comic"),
        ("var//projects/./comic/a/..", "var/projects/comic"),
        ("var/projects/comic/deep", "var/projects/comic/deep"),
        ("shelf/comic", "shelf/comic"),
        ("up/data/shelf", "shelf"),
        ("var%2Fbackend", "var%2Fbackend"),
    ],
)
def test_a_root_inside_is_registered_from_the_data_directory(data: Path, root: str, registered: str) -> None:
    assert resolved(data, root, anywhere=False) == registered


@pytest.mark.parametrize(
    "root",
    [
        *(".", "", "..", "../..", "/", "//", "../data", "up", "up/data"),
        *(
            "var",
            "var/",
            "VAR",
            "Var/projects/x",
            "var/projects",
            "var/Projects/x",
            "var/projects/..",
            "../out",
        ),
        *(
            "var/backend",
            "var/backend/keys",
            "VAR/backend",
            "v\uff41r/backend",
            "../out/backend",
            "var/other",
        ),
        *("config", "Config/x", "run", "link", "link/x", "logs", "postgres/x", "valkey", "spool", "tools/x"),
        *(
            "token",
            "token/x",
            "TOKEN",
            "callback.key",
            "kroma.lock",
            ".hidden",
            "a.b/c",
            "postgres.partial-1",
        ),
        *("keys", "keys/master.key", "/proc/self", "/sys/kernel", "a\0b"),
        pytest.param("a" * 256, id="a long name"),
        pytest.param("a/" * 2000, id="a long path"),
        pytest.param("a\udcff", id="no UTF-8"),
    ],
)
def test_nothing_that_kroma_keeps_is_a_root_or_around_one_or_in_one(data: Path, root: str) -> None:
    with pytest.raises(RootNotAllowedError):
        resolved(data, root)


def test_a_root_elsewhere_is_registered_as_it_is(data: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to("elsewhere")

    assert resolved(data, "../alias/comic") == f"{tmp_path}/elsewhere/comic"
    with pytest.raises(RootNotAllowedError):
        resolved(data, "../alias/comic", anywhere=False)


async def test_a_root_that_becomes_a_symlink_is_not_followed(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    opened = stores(data)
    registered = opened.resolve(str(root))
    store = opened.open(str(root), real_root=registered)
    await store.put("a.png", b"mine")
    (data / "var/projects/comic/a.png").write_bytes(b"theirs")
    (root / "a.png").unlink()
    root.rmdir()
    root.symlink_to(data / "var/projects/comic")

    for operation in (
        store.get("a.png", limit_bytes=9),
        store.put("a.png", b"x"),
        store.delete(["a.png"]),
        store.move("a.png", "b.png"),
        store.list_keys(""),
        store.size("a.png"),
        store.read_ends(["a.png"], head_bytes=1, tail_bytes=1),
        store.check_writable(),
    ):
        with pytest.raises(RootMovedError):
            await operation


async def test_a_root_that_is_not_registered_can_be_read_only(data: Path) -> None:
    (data / "var/projects/comic/a.png").write_bytes(b"a")
    store = stores(data).open(str(data / "var/projects/comic"))

    assert await store.get("a.png", limit_bytes=9) == b"a"
    for operation in (
        store.put("b.png", b"x"),
        store.delete(["a.png"]),
        store.move("a.png", "b.png"),
        store.check_writable(),
    ):
        with pytest.raises(RootNotRegisteredError):
            await operation


async def test_an_installation_may_be_moved_with_its_data_directory(data: Path, tmp_path: Path) -> None:
    registered = resolved(data, "var/projects/comic")
    await asyncio.to_thread(data.rename, tmp_path / "new")
    moved = stores(tmp_path / "new")

    await moved.open(str(tmp_path / "new/var/projects/comic"), real_root=registered).put("a.png", b"a")


async def test_a_data_directory_behind_a_symlink_is_used_through_it(data: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(data)
    behind = DirectoryStores(tmp_path / "alias", allow_any_root=False)
    root = str(tmp_path / "alias/var/projects/comic")

    assert behind.resolve(root) == "var/projects/comic"
    await behind.open(root, real_root=behind.resolve(root)).put("a.png", b"a")
    assert await behind.open(root).get("a.png", limit_bytes=9) == b"a"
