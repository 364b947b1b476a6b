"""A sync is a row: claimed, carried, failed, taken over, canceled, and written into the trail."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web

from kroma.db.engine import Database
from kroma.leases.claim import ClaimLostError
from kroma.leases.sweep import end_spent
from kroma.storage.errors import RootNotAllowedError
from kroma.sync.claim import claim_sync, fail_sync, give_back
from kroma.sync.errors import (
    AlreadyInBucketError,
    BucketNotNamedError,
    ProjectRootMissingError,
    ProjectRootNotFolderError,
    SyncDisabledError,
    SyncNotAgainError,
    SyncRunningError,
    UnexpectedSyncError,
    WrongPrefixError,
)
from kroma.sync.models import SyncKind
from kroma.sync.progress import SyncResult
from kroma.sync.service import SyncRequest, begin_sync, cancel_sync, prepare_sync, request_sync, retry_sync
from kroma.sync.sweep import fail_spent_syncs, list_due_syncs
from support.doubles.s3_double import Asked, S3Double, Verdict, cut, forever, refusal
from support.harness.sync_harness import LEASE, Office, open_office

pytestmark = pytest.mark.timeout(60)


async def test_a_sync_moves_the_assets_and_stands_in_the_trail(office: Office) -> None:
    done = await office.synced()

    bucket = done.destination
    assert bucket == f"s3://{bucket.split('/')[2]}/iat-projects/{office.project.id}/"
    assert (done.status, done.error, done.result_json["copied"]) == ("done", None, 2)
    assert (done.files_total, done.files_done, done.phase, done.lease_owner) == (2, 2, "", None)
    asset = await office.asset("scenes/a.png")
    assert (asset.storage_uri, asset.storage_backend) == (f"{bucket}scenes/a.png", "s3")
    (start, started), (end, ended) = await office.trail()
    assert (start, end) == ("storage.sync.start", "storage.sync.end")
    assert started["destination"] == bucket
    assert (ended["status"], ended["copied"], ended["copied_bytes"]) == ("done", 2, 6)


async def test_a_dry_run_moves_no_asset(office: Office) -> None:
    done = await office.synced(dry_run=True)

    assert done.result_json["copy_names"] == ["scenes/a.png", "scenes/b.png"]
    assert (await office.asset("scenes/a.png")).storage_backend == "local"


async def test_an_asset_whose_object_went_is_on_the_disk_again(office: Office) -> None:
    await office.synced()
    (office.root / "scenes" / "a.png").unlink()

    done = await office.synced(delete_extra=True)

    assert done.result_json["deleted"] == 1
    assert (await office.asset("scenes/a.png")).storage_backend == "local"
    assert (await office.asset("scenes/b.png")).storage_backend == "s3"


async def losing_two(office: Office, double: S3Double, status: int, code: str) -> None:
    """Two of three files go; of their objects, which are deleted one by one, the service keeps the second."""
    (office.root / "scenes" / "c.png").write_bytes(b"three")
    await office.synced()
    for name in ("a", "b"):
        (office.root / "scenes" / f"{name}.png").unlink()
    office.syncs = office.synchronizer(deleted_at_once=1)

    async def second_fails(asked: Asked, _: web.Request) -> Verdict:
        is_second = asked.method == "DELETE" and asked.path.endswith("b.png")
        return refusal(status, code) if is_second else None

    double.rule = second_fails


async def test_a_deletion_that_ends_early_is_told_and_its_assets_come_back(
    office: Office, double: S3Double
) -> None:
    await losing_two(office, double, 500, "InternalError")
    row = await office.ask(delete_extra=True)
    assert await office.carry(row) is not None
    told = (await office.row(row)).result_json
    assert (told["deleted"], told["delete_names"]) == (1, ["scenes/a.png"])
    double.rule = None
    await office.execute("UPDATE sync_jobs SET available_at = NULL")
    await office.carry(row)

    done = await office.row(row)
    assert (done.status, done.result_json["deleted"], "extra" in done.result_json) == ("done", 2, False)
    assert done.result_json["delete_names"] == ["scenes/a.png", "scenes/b.png"]
    assert (await office.trail())[-1][1]["deleted"] == 2
    for name in ("a", "b"):
        asset = await office.asset(f"scenes/{name}.png")
        assert (asset.storage_backend, asset.storage_uri) == (
            "local",
            (office.root / "scenes" / f"{name}.png").as_uri(),
        )


async def test_a_deletion_that_fails_for_good_stands_in_the_trail(office: Office, double: S3Double) -> None:
    await losing_two(office, double, 403, "AccessDenied")
    failed = await office.synced(delete_extra=True)
    assert (failed.status, failed.result_json["deleted"]) == ("failed", 1)
    assert (await office.trail())[-1][1]["deleted"] == 1

    await office.synced()
    assert (await office.asset("scenes/a.png")).storage_backend == "local"
    assert (await office.asset("scenes/b.png")).storage_backend == "s3"


async def test_of_two_requests_in_one_moment_one_sync_comes(office: Office) -> None:
    notice = await prepare_sync(office.db, office.stores, slug="comic", request=SyncRequest())
    async with office.db.transaction() as session:
        first = await request_sync(session, notice, actor=None)
        asking = asyncio.create_task(office.ask())
        done, _ = await asyncio.wait({asking}, timeout=1)

    assert not done
    assert (await asking).id == first.id


async def test_one_that_waits_is_given_again_and_behind_one_under_way_a_new_one_waits(office: Office) -> None:
    first = await office.ask()
    assert (await office.ask()).id == first.id
    assert (await office.ask(dry_run=True)).id != first.id
    claim = await claim_sync(office.db, first.id, worker="one", lease=LEASE)
    assert claim is not None
    second = await office.ask()
    assert second.id != first.id

    assert await claim_sync(office.db, second.id, worker="two", lease=LEASE) is None
    assert second.id not in {message.sync_id for message in await list_due_syncs(office.db)}
    notice = await prepare_sync(office.db, office.stores, slug="comic", request=SyncRequest())
    with pytest.raises(SyncRunningError, match=str(first.id)):
        await begin_sync(office.db, notice, worker="cli", lease=LEASE)
    await give_back(office.db, claim)
    assert (await office.row(first)).attempt == 0


async def test_of_two_claims_in_one_moment_one_holds(office: Office) -> None:
    rows = [await office.ask(), await office.ask(dry_run=True)]

    claims = await asyncio.gather(
        *(claim_sync(office.db, row.id, worker=str(number), lease=LEASE) for number, row in enumerate(rows))
    )

    assert sum(claim is not None for claim in claims) == 1


@pytest.mark.parametrize(
    ("status", "code", "error_code", "is_tried_again"),
    [
        pytest.param(403, "AccessDenied", "store_forbidden", False, id="forbidden"),
        pytest.param(500, "InternalError", "store_unavailable", True, id="server error"),
        pytest.param(404, "NoSuchBucket", "bucket_not_found", False, id="no bucket"),
        pytest.param(400, "BadDigest", "checksum_mismatch", True, id="wrong checksum"),
        pytest.param(0, "", "store_unavailable", True, id="cut connection"),
    ],
)
async def test_a_bad_bucket_is_a_clear_state_and_a_retry_sends_what_is_missing(
    office: Office, double: S3Double, status: int, code: str, error_code: str, *, is_tried_again: bool
) -> None:
    async def second_file_fails(asked: Asked, request: web.Request) -> Verdict:
        if asked.method != "PUT" or not asked.path.endswith("b.png"):
            return None
        await double.until(lambda: len(double.puts()) == 1)
        return refusal(status, code) if status else cut(request)

    double.rule = second_file_fails
    row = await office.ask()
    again_in = await office.carry(row)

    assert (again_in is not None) == is_tried_again
    failed = await office.row(row)
    assert (failed.status, failed.error_code) == ("queued" if is_tried_again else "failed", error_code)
    assert (failed.error_kind, failed.lease_owner) == ("infra", None)
    assert (await office.asset("scenes/a.png")).storage_backend == "local", "told when all is there"
    double.rule = None
    double.asked.clear()
    await office.execute("UPDATE sync_jobs SET available_at = NULL")
    if not is_tried_again:
        row = await retry_sync(office.db, office.stores, slug="comic", sync_id=str(row.id))
    await office.carry(row)

    done = await office.row(row)
    assert (done.status, done.error, done.result_json["copied"], done.result_json["equal"]) == (
        *("done", None),
        *(1, 1),
    )
    assert [path.rpartition("/")[2] for path in double.puts()] == ["b.png"]
    with pytest.raises(SyncNotAgainError, match="The sync is done"):
        await retry_sync(office.db, office.stores, slug="comic", sync_id=str(row.id))


async def test_attempts_come_to_an_end(office: Office, double: S3Double) -> None:
    async def down(_: Asked, __: web.Request) -> Verdict:
        return refusal(HTTPStatus.BAD_REQUEST, "BadDigest")

    double.rule = down
    row = await office.ask()
    await office.execute("UPDATE sync_jobs SET max_attempts = 2")
    assert await office.carry(row) is not None
    await office.execute("UPDATE sync_jobs SET available_at = NULL")
    assert await office.carry(row) is None

    failed = await office.row(row)
    assert (failed.status, failed.attempt) == ("failed", 2)
    assert (await office.trail())[-1][1]["error_code"] == failed.error_code


async def test_a_sync_under_way_can_be_called_off(office: Office, double: S3Double) -> None:
    async def slow(asked: Asked, _: web.Request) -> Verdict:
        if asked.method == "PUT":
            await forever()
        return None

    double.rule = slow
    row = await office.ask()
    occupying = asyncio.create_task(office.carry(row))
    async with asyncio.timeout(20):
        while (await office.row(row)).phase != "copying":
            await asyncio.sleep(0.02)
    await cancel_sync(office.db, slug="comic", sync_id=str(row.id), actor=None)

    assert await occupying is None
    assert (await office.row(row)).status == "canceled"
    assert [code for code, _ in await office.trail()][1:] == ["storage.sync.cancel", "storage.sync.end"]


async def test_a_sync_that_waits_is_called_off_at_once(office: Office) -> None:
    row = await office.ask()

    canceled = await cancel_sync(office.db, slug="comic", sync_id=str(row.id), actor=None)

    assert canceled.status == "canceled"
    assert await claim_sync(office.db, row.id, worker="w", lease=LEASE) is None


async def test_a_lost_worker_is_replaced_and_writes_nothing_more(office: Office) -> None:
    row = await office.ask()
    lost = await claim_sync(office.db, row.id, worker="lost", lease=LEASE)
    assert lost is not None
    await office.execute("UPDATE sync_jobs SET lease_expires_at = clock_timestamp() - interval '1 s'")
    assert [message.sync_id for message in await list_due_syncs(office.db)] == [row.id]
    await office.carry(row)

    async def sleeps() -> None:
        async with office.renewer.renewing(lost):
            await forever()

    with pytest.raises(ClaimLostError):
        await sleeps()
    await fail_sync(office.db, lost, UnexpectedSyncError(), SyncResult())
    assert (await office.row(row)).status == "done"


async def test_the_sweep_ends_what_nobody_may_carry_on(office: Office) -> None:
    row = await office.ask()
    await claim_sync(office.db, row.id, worker="lost", lease=LEASE)
    await office.execute(
        "UPDATE sync_jobs SET lease_expires_at = clock_timestamp() - interval '1 s', attempt = max_attempts"
    )

    await end_spent(office.db, fail_spent_syncs)

    failed = await office.row(row)
    assert (failed.status, failed.error_code) == ("failed", "worker_lost")


async def test_preconditions_are_checked_in_the_contracts_order(office: Office) -> None:
    async def refused(**values: object) -> None:
        await office.set_storage(**values)
        await office.ask()

    gone = str(office.settings.data_dir / "gone")
    await office.set_storage(s3_enabled=False, s3_bucket=None, local_project_root=gone)
    with pytest.raises(SyncDisabledError):
        await office.ask()
    with pytest.raises(BucketNotNamedError):
        await refused(s3_enabled=True)
    with pytest.raises(ProjectRootMissingError):
        await refused(s3_bucket="b")
    with pytest.raises(ProjectRootNotFolderError):
        await refused(local_project_root=str(office.root / "scenes" / "a.png"))
    with pytest.raises(RootNotAllowedError):
        await refused(local_project_root="/etc")
    with pytest.raises(WrongPrefixError):
        await refused(s3_prefix="a/../b")
    with pytest.raises(WrongPrefixError, match="must not hold empty"):
        await refused(s3_prefix="a//b")


async def test_a_missing_folder_can_be_no_error(office: Office) -> None:
    await office.set_storage(local_project_root=str(office.settings.data_dir / "gone"))

    row = await office.ask(allow_missing=True)

    assert row.status == "done"
    assert row.result_json == {"skipped": True, "reason": "missing_local_project_root"}


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        pytest.param(None, "iat-projects/", id="none is the default"),
        pytest.param("/mine/", "mine/", id="outer slashes go"),
        pytest.param("///", "", id="slashes alone drop the segment"),
        pytest.param("a/b", "a/b/", id="two segments"),
    ],
)
async def test_the_destination_follows_the_prefix(office: Office, prefix: str | None, shown: str) -> None:
    await office.set_storage(s3_prefix=prefix, s3_bucket="studio")

    assert (await office.ask()).destination == f"s3://studio/{shown}{office.project.id}/"


async def test_where_all_files_are_in_a_bucket_there_is_nothing_to_copy(office: Office) -> None:
    class Hosted:
        hosted = True

        def __getattr__(self, name: str) -> object:
            return getattr(office.stores, name)

    with pytest.raises(AlreadyInBucketError, match="are already in S3"):
        await prepare_sync(office.db, Hosted(), slug="comic", request=SyncRequest())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("secrets", "settings", "error_code"),
    [
        pytest.param({"access_key_id": "x"}, {}, "s3_credentials_incomplete", id="half a key"),
        pytest.param({}, {}, "s3_credentials_not_for_project", id="a bucket nobody listed"),
        pytest.param(
            {"access_key_id": "x", "secret_access_key": "y"},
            {"KROMA_URL_ALLOW": "10.0.0.1"},
            "url_refused",
            id="an endpoint the guard refuses",
        ),
    ],
)
async def test_the_operators_key_and_network_are_not_a_projects_to_choose(
    *,
    fresh_db: Database,
    data_dir: Path,
    double: S3Double,
    s3_bucket: str,
    secrets: dict[str, str],
    settings: dict[str, str],
    error_code: str,
) -> None:
    office = await open_office(fresh_db, data_dir, double, s3_bucket, **settings)
    await office.execute("DELETE FROM project_secrets")
    if secrets:
        await office.own_key(**secrets)

    failed = await office.synced()

    assert (failed.status, failed.error_code) == ("failed", error_code)
    assert double.asked == []
    await office.renewer.close()


async def test_the_operators_key_writes_no_copy_into_another_projects(
    *, fresh_db: Database, data_dir: Path, double: S3Double, s3_bucket: str
) -> None:
    office = await open_office(fresh_db, data_dir, double, s3_bucket, KROMA_SYNC_BUCKETS=s3_bucket)
    await office.execute("DELETE FROM project_secrets")
    for prefix in ("iat-projects/{id}", "{id}", "a/{id}/b"):
        await office.set_storage(s3_prefix=prefix.format(id=uuid4()))
        failed = await office.synced()
        assert (failed.status, failed.error_code) == ("failed", "s3_credentials_not_for_project")
    assert double.asked == []
    await office.renewer.close()


async def test_a_restore_brings_a_project_back_and_a_verification_finds_it_whole(office: Office) -> None:
    await office.synced()
    (office.root / "scenes" / "a.png").unlink()
    (office.root / "scenes" / "b.png").write_bytes(b"TWO")

    verified = await office.synced(kind=SyncKind.VERIFY)
    assert verified.result_json == {
        "extra": 1,
        "different": 1,
        "extra_names": ["scenes/a.png"],
        "different_names": ["scenes/b.png"],
    }
    restored = await office.synced(kind=SyncKind.RESTORE)
    assert (restored.result_json["copied"], restored.result_json["different"]) == (1, 1)
    assert (office.root / "scenes" / "a.png").read_bytes() == b"one"
    assert (office.root / "scenes" / "b.png").read_bytes() == b"TWO"
    await office.synced(kind=SyncKind.RESTORE, overwrite=True)
    assert (office.root / "scenes" / "b.png").read_bytes() == b"two"
    assert (await office.synced(kind=SyncKind.VERIFY)).result_json == {"equal": 2}
