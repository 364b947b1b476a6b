"""A project comes back from its bucket, whole or not at all."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kroma.storage.errors import StoreFullError, StoreUnavailableError
from kroma.sync.errors import FilesLeftOutError
from support.doubles.s3_double import Asked, Verdict
from support.harness.sync_endpoints import PREFIX, Ends, put_directly

pytestmark = pytest.mark.timeout(60)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_what_is_missing_comes_back_with_its_bytes(ends: Ends, tmp_path: Path) -> None:
    ends.write(scenes__a="one", scenes__b="two")
    await ends.sync()
    again = tmp_path / "again"

    result = await ends.restore(again)

    assert files_below(again) == ["scenes/a", "scenes/b"]
    assert (again / "scenes/a").read_text() == "one"
    assert (result.copied, result.copied_bytes) == (2, 6)
    assert (await ends.restore(again)).copied == 0


async def test_a_different_file_is_kept_unless_it_may_go(ends: Ends) -> None:
    ends.write(a="one")
    await ends.sync()
    ends.write(a="mine", b="new here")

    kept = await ends.restore()
    assert (kept.different_names, (ends.root / "a").read_text()) == (["a"], "mine")
    await ends.restore(overwrite=True)

    assert ((ends.root / "a").read_text(), (ends.root / "b").read_text()) == ("one", "new here")


async def test_a_dry_run_fetches_nothing(ends: Ends, tmp_path: Path) -> None:
    ends.write(a="one")
    await ends.sync()

    result = await ends.restore(tmp_path / "again", dry_run=True)

    assert result.copy_names == ["a"]
    assert not (tmp_path / "again").exists()


async def test_names_that_lead_elsewhere_are_left_in_the_bucket(
    ends: Ends, direct: str, tmp_path: Path
) -> None:
    for key in ("good", "folder/", "a//b", ".kroma-put-x"):
        put_directly(direct, f"{PREFIX}{key}", b"x")
    await ends.bucket.put(f"{PREFIX}../up", b"x")

    with pytest.raises(FilesLeftOutError, match="4 of 5 files"):
        await ends.restore(tmp_path / "again")

    assert files_below(tmp_path) == ["again/good"]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_nothing_is_written_through_a_symlink(ends: Ends, direct: str, *, overwrite: bool) -> None:
    ends.write(scene="mine", characters__a="mine")
    (ends.root / "refs").symlink_to("characters")
    (ends.root / "latest").symlink_to("scene")
    for key in ("refs/a", "refs/new", "latest", "other"):
        put_directly(direct, f"{PREFIX}{key}", b"theirs")

    assert (await ends.restore(dry_run=True, overwrite=overwrite)).left_out == 3
    with pytest.raises(FilesLeftOutError, match=r"3 of 4 files.*a symlink is where"):
        await ends.restore(overwrite=overwrite)

    assert files_below(ends.root) == ["characters/a", "latest", "other", "scene"]
    assert [(ends.root / name).read_text() for name in ("scene", "characters/a")] == ["mine", "mine"]
    assert (ends.root / "latest").is_symlink()
    assert "File 'latest' cannot be restored" in " ".join(ends.result.problems)


async def test_a_path_that_is_taken_keeps_no_other_file_back(ends: Ends, direct: str) -> None:
    ends.write(folder__mine="x", file="x")
    for key in ("folder", "file/below", "n" * 300, "both", "both/a", "good"):
        put_directly(direct, f"{PREFIX}{key}", b"theirs")

    with pytest.raises(FilesLeftOutError, match="4 of 6 files") as caught:
        await ends.restore()

    assert not caught.value.retryable
    assert (ends.result.left_out, ends.result.copied) == (4, 2)
    restored = {"both", "both/a"} & set(files_below(ends.root))
    assert set(files_below(ends.root)) == {"folder/mine", "file", "good", *restored}
    assert len(restored) == 1
    told = " ".join(ends.result.problems)
    assert "File 'folder' cannot be restored: a folder is where it should be" in told
    assert "File 'file/below' cannot be restored: another file is where its folder should be" in told


async def test_what_only_marks_a_folder_is_no_file(ends: Ends, direct: str) -> None:
    ends.write(scenes__a="one")
    await ends.sync()
    for key in ("", "scenes/", "empty/", "empty/below/"):
        put_directly(direct, f"{PREFIX}{key}", b"")

    assert (await ends.verify()).is_same
    assert (await ends.restore()).left_out == 0
    await ends.sync(delete_extra=True)

    assert (ends.result.delete_names, ends.result.extra) == ([], 0)


async def test_a_damaged_object_does_not_become_a_file(ends: Ends, tmp_path: Path) -> None:
    ends.write(a="one")
    await ends.sync()

    async def damages(asked: Asked, _: web.Request) -> Verdict:
        if not asked.path.endswith("/a"):
            return None
        head = await ends.bucket.head(f"{PREFIX}a") if asked.method == "GET" else None
        if head is None or head.sha256 is None:
            return None
        return web.Response(body=b"eno", headers={"ETag": head.etag, "x-amz-meta-sha256": head.sha256})

    ends.double.rule = damages
    with pytest.raises(FilesLeftOutError, match="'iat-projects/42/a' is damaged") as caught:
        await ends.restore(tmp_path / "again")
    assert caught.value.retryable
    assert files_below(tmp_path / "again") == []
    ends.double.rule = None

    await ends.restore(tmp_path / "again")
    assert files_below(tmp_path / "again") == ["a"]


async def test_a_connection_that_breaks_leaves_nothing_half(ends: Ends, tmp_path: Path) -> None:
    ends.write(a="x" * 500_000)
    await ends.sync()

    async def breaks(asked: Asked, request: web.Request) -> Verdict:
        if asked.method != "GET" or not asked.path.endswith("/a"):
            return None
        answer = web.StreamResponse(headers={"Content-Length": "500000", "ETag": '"x"'})
        await answer.prepare(request)
        await answer.write(b"x" * 100_000)
        assert request.transport is not None
        request.transport.close()
        return answer

    ends.double.rule = breaks
    with pytest.raises(StoreUnavailableError, match="broke"):
        await ends.restore(tmp_path / "again")

    assert files_below(tmp_path / "again") == []


async def test_a_full_disk_keeps_what_is_whole(ends: Ends, tmp_path: Path) -> None:
    ends.write(a="x" * 100, b="y" * 5000)
    await ends.sync()

    with files_of_at_most(1000), pytest.raises(StoreFullError, match="'b'"):
        await ends.restore(tmp_path / "again")
    assert set(files_below(tmp_path / "again")) <= {"a"}

    await ends.restore(tmp_path / "again")
    assert files_below(tmp_path / "again") == ["a", "b"]


async def test_a_verification_names_every_difference(ends: Ends, direct: str) -> None:
    ends.write(same="1", mine="2", both="3")
    await ends.sync()
    put_directly(direct, f"{PREFIX}theirs", b"x")
    ends.write(both="4", new="5")
    await asyncio.to_thread((ends.root / "mine").unlink)

    result = await ends.verify()

    assert (result.equal, result.is_same) == (1, False)
    assert (result.missing_names, result.different_names, result.extra_names) == (
        ["new"],
        ["both"],
        ["mine", "theirs"],
    )
