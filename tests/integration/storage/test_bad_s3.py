"""An S3 service that refuses, breaks, dawdles and lies: nothing half-visible, and a retry works."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import aioboto3
import pytest
from aiohttp import web

from kroma.allow_list import AllowList
from kroma.outbound.errors import UrlRefusedError
from kroma.outbound.guard import UrlGuard
from kroma.storage.access import RetryPolicy
from kroma.storage.base import ObjectStore
from kroma.storage.bucket import Bucket, open_bucket
from kroma.storage.client import s3_client
from kroma.storage.errors import (
    BucketNotFoundError,
    ChecksumMismatchError,
    StoreError,
    StoreForbiddenError,
    StoreFullError,
    StoreUnavailableError,
)
from kroma.storage.s3 import PART_BYTES, S3Stores
from support.doubles.s3_double import Asked, Rule, S3Double, cut, forever, refusal, s3_double
from support.servers.s3_server import KEY, access_to

pytestmark = pytest.mark.timeout(60)

ONCE = RetryPolicy(read_timeout=timedelta(seconds=2), attempts=1)


@pytest.fixture
async def double(s3_server: str) -> AsyncIterator[S3Double]:
    async with s3_double(s3_server) as opened:
        yield opened


@pytest.fixture
async def stores(double: S3Double, s3_bucket: str) -> AsyncIterator[S3Stores]:
    opened = S3Stores(s3_bucket, "iat-projects", access_to(double.endpoint), retry_policy=ONCE)
    yield opened
    await opened.close()


@pytest.fixture
def store(stores: S3Stores) -> ObjectStore:
    return stores.open(stores.locate(project_id=uuid4(), slug="comic", storage=None))


def answering(answer: Callable[[web.Request], web.Response], *, method: str = "") -> Rule:
    """Every request, or those of one method, gets this answer."""

    async def rule(asked: Asked, request: web.Request) -> web.StreamResponse | None:
        return answer(request) if method in {"", asked.method} else None

    return rule


def refusing(status: int, code: str, *, method: str = "") -> Rule:
    return answering(lambda _: refusal(status, code), method=method)


async def dawdling(_: Asked, __: web.Request) -> None:
    await forever()


@pytest.mark.parametrize(
    ("rule", "error", "told", "retryable"),
    [
        pytest.param(
            refusing(403, "AccessDenied"),
            StoreForbiddenError,
            "the permission s3:PutObject",
            False,
            id="403",
        ),
        pytest.param(refusing(404, "NoSuchBucket"), BucketNotFoundError, "not exist", False, id="bucket"),
        pytest.param(refusing(500, "InternalError"), StoreUnavailableError, "answered 500", True, id="500"),
        pytest.param(refusing(503, "SlowDown"), StoreUnavailableError, "SlowDown", True, id="slow down"),
        pytest.param(refusing(400, "EntityTooLarge"), StoreUnavailableError, "answered 400", False, id="400"),
        pytest.param(refusing(507, "XMinioStorageFull"), StoreFullError, "No space left", False, id="full"),
        pytest.param(refusing(400, "BadDigest"), ChecksumMismatchError, "is damaged", True, id="digest"),
        pytest.param(answering(cut), StoreUnavailableError, "connection", True, id="cut"),
        pytest.param(dawdling, StoreUnavailableError, "in time", True, id="slow"),
    ],
)
async def test_a_put_that_fails_says_why_and_works_again_later(  # noqa: PLR0917 - the table's columns
    double: S3Double,
    store: ObjectStore,
    rule: Rule,
    error: type[StoreError],
    told: str,
    retryable: bool,  # noqa: FBT001
) -> None:
    double.rule = rule

    with pytest.raises(error, match=told) as caught:
        await store.put("a.png", b"pixels")

    assert caught.value.retryable is retryable
    assert double.endpoint not in caught.value.message
    double.rule = None
    assert await store.list_keys("") == []
    await store.put("a.png", b"pixels")
    assert await store.get("a.png", limit_bytes=6) == b"pixels"


async def test_one_failure_is_tried_again_at_once(double: S3Double, s3_bucket: str) -> None:
    failures = [refusal(503, "SlowDown")]

    async def rule(_: Asked, __: web.Request) -> web.StreamResponse | None:
        return failures.pop() if failures else None

    double.rule = rule
    async with open_bucket(
        s3_bucket, access_to(double.endpoint), guard=None, connections=1, retry_policy=RetryPolicy(attempts=2)
    ) as bucket:
        await bucket.put("a.png", b"pixels")

    assert [asked.method for asked in double.asked] == ["PUT"]


def damaged(request: web.Request) -> web.Response:
    """Other bytes than the ones whose checksum is recorded."""
    recorded = {"x-amz-meta-sha256": "0" * 64, "ETag": '"x"'}
    return web.Response(body=b"pixelz" if request.method == "GET" else b"", headers=recorded)


async def test_damaged_bytes_are_never_handed_out_as_good(double: S3Double, store: ObjectStore) -> None:
    double.rule = answering(damaged)

    with pytest.raises(ChecksumMismatchError, match=r"'a\.png' is damaged"):
        await store.get("a.png", limit_bytes=6)
    async with store.open_stream("a.png") as stream:
        with pytest.raises(ChecksumMismatchError):
            await anext(stream.chunks)


async def test_a_damaged_stream_ends_short_of_its_length(double: S3Double, store: ObjectStore) -> None:
    body = b"x" * 1_000_000
    recorded = {"x-amz-meta-sha256": "0" * 64, "ETag": '"x"'}
    double.rule = answering(lambda _: web.Response(body=body, headers=recorded))
    came = 0

    async def read() -> None:
        nonlocal came
        async with store.open_stream("a.png") as stream:
            assert stream.size_bytes == len(body)
            async for chunk in stream.chunks:
                came += len(chunk)

    with pytest.raises(ChecksumMismatchError):
        await read()
    assert 0 < came < len(body)


async def test_answers_without_a_tag_are_no_bug_of_ours(double: S3Double, s3_bucket: str) -> None:
    double.rule = answering(
        lambda request: web.Response(
            text="<InitiateMultipartUploadResult/>" if request.method == "POST" else "",
            content_type="application/xml",
        )
    )
    async with open_bucket(
        s3_bucket, access_to(double.endpoint), guard=None, connections=1, retry_policy=ONCE
    ) as bucket:
        assert (await bucket.put("a", b"x")).etag == ""
        with pytest.raises(StoreUnavailableError, match=r"answer has no (ContentLength|ETag)"):
            await bucket.head("a")
        with pytest.raises(StoreUnavailableError, match="answer has no ETag"):
            await bucket.put_part("a", "upload", 1, b"x")
        with pytest.raises(StoreUnavailableError, match="answer has no ETag"):
            await bucket.complete_upload("a", "upload", [])
        with pytest.raises(StoreUnavailableError, match="answer has no UploadId"):
            await bucket.begin_upload("a")


async def test_keys_that_no_xml_can_hold_are_deleted_alone(double: S3Double, s3_bucket: str) -> None:
    listed: list[str] = []
    alone: list[str] = []

    async def notes(asked: Asked, request: web.Request) -> web.Response:
        if asked.method == "POST":
            listed.extend(re.findall("<Key>(.*?)</Key>", await request.text()))
            return web.Response(text="<DeleteResult/>", content_type="application/xml")
        alone.append(asked.path.removeprefix(f"/{s3_bucket}/"))
        return web.Response(status=204)

    double.rule = notes
    async with open_bucket(
        s3_bucket, access_to(double.endpoint), guard=None, connections=1, retry_policy=ONCE
    ) as bucket:
        await bucket.delete(["a", "b\x01", "c", "d\uffff"])

    assert (listed, alone) == (["a", "c"], ["b\x01", "d\uffff"])


async def half_of_it(asked: Asked, request: web.Request) -> web.StreamResponse | None:
    if asked.method != "GET":
        return None
    answer = web.StreamResponse(headers={"Content-Length": "1000", "ETag": '"x"'})
    await answer.prepare(request)
    await answer.write(b"x" * 500)
    return cut(request)


async def test_what_somebody_else_put_is_read_once_for_its_checksum(
    double: S3Double, store: ObjectStore, s3_bucket: str
) -> None:
    key = store.uri("a.png").removeprefix(f"s3://{s3_bucket}/")
    session = aioboto3.Session(aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name="us-east-1")
    async with session.client("s3", endpoint_url=double.server) as other:
        for data in (b"first", b"other"):
            await other.put_object(Bucket=s3_bucket, Key=key, Body=data)

            assert [await store.checksum("a.png") for _ in range(3)] == [hashlib.sha256(data).hexdigest()] * 3
    assert [asked.method for asked in double.asked].count("GET") == 2


async def test_a_read_that_is_cut_off_is_no_object(double: S3Double, store: ObjectStore) -> None:
    await store.put("a.png", b"pixels")
    double.rule = half_of_it

    with pytest.raises(StoreUnavailableError) as caught:
        await store.get("a.png", limit_bytes=1000)

    assert caught.value.retryable
    double.rule = None
    assert await store.get("a.png", limit_bytes=6) == b"pixels"


async def arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_an_upload_whose_part_fails_is_given_up_whole(double: S3Double, store: ObjectStore) -> None:
    async def rule(asked: Asked, _: web.Request) -> web.StreamResponse | None:
        return refusal(500, "InternalError") if asked.part == 2 else None

    double.rule = rule
    with pytest.raises(StoreUnavailableError):
        await store.put_stream("big.bin", arriving(b"x" * PART_BYTES, b"y"), limit_bytes=PART_BYTES + 1)

    assert (double.asked[-1].method, "uploadId" in double.asked[-1].query) == ("DELETE", True)
    assert await store.size("big.bin") is None
    double.rule = None
    await store.put_stream("big.bin", arriving(b"x" * PART_BYTES, b"y"), limit_bytes=PART_BYTES + 1)
    assert await store.size("big.bin") == PART_BYTES + 1


async def test_a_folder_is_listed_page_by_page(double: S3Double, store: ObjectStore) -> None:
    prefix = f"{store.location.partition('iat-projects')[2]}"
    whole = f"iat-projects{prefix}/"

    def page(request: web.Request) -> web.Response:
        goes_on = "continuation-token" not in request.query
        name = "a.png" if goes_on else "b.png"
        body = (
            f"<ListBucketResult><IsTruncated>{str(goes_on).lower()}</IsTruncated>"
            f"<NextContinuationToken>next</NextContinuationToken><Contents><Key>{whole}{name}</Key>"
            f'<Size>3</Size><ETag>"x"</ETag></Contents><Contents><Key>{whole}../{name}</Key></Contents>'
            f"<Contents><Key>{whole}folder/</Key><Size>0</Size></Contents></ListBucketResult>"
        )
        return web.Response(text=body, content_type="application/xml")

    double.rule = answering(page)

    assert await store.list_keys("") == ["a.png", "b.png"]


async def test_what_the_service_keeps_back_from_a_deletion_is_named(
    double: S3Double, store: ObjectStore
) -> None:
    body = "<DeleteResult><Error><Key>b.png</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    double.rule = answering(lambda _: web.Response(text=body, content_type="application/xml"))

    with pytest.raises(StoreUnavailableError, match=r"'b\.png': the service kept it \(AccessDenied\)"):
        await store.delete(["a.png", "b.png"])


async def test_a_place_is_proved_once_for_a_while(double: S3Double, store: ObjectStore) -> None:
    double.rule = refusing(403, "AccessDenied", method="PUT")
    with pytest.raises(StoreForbiddenError):
        await store.check_writable()
    double.rule = None

    await store.check_writable()
    await store.check_writable()

    assert [asked.method for asked in double.asked] == ["PUT", "DELETE"]
    assert await store.list_keys("") == []


async def test_an_endpoint_that_a_user_chose_passes_the_guard(double: S3Double, s3_bucket: str) -> None:
    nobody = UrlGuard(AllowList())
    with pytest.raises(UrlRefusedError):
        async with open_bucket(s3_bucket, access_to(double.endpoint), guard=nobody, connections=1):
            pass

    listed = UrlGuard(AllowList.parsed(["127.0.0.0/8"]))
    async with open_bucket(s3_bucket, access_to(double.endpoint), guard=listed, connections=1) as bucket:
        await bucket.put("a.png", b"x")
    assert len(double.asked) == 1


@asynccontextmanager
async def listener(address: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A server at an address of this machine, and what came to it."""
    came: list[str] = []

    async def note(request: web.Request) -> web.Response:
        came.append(request.path)
        return web.Response(body=b"secret", headers={"ETag": '"x"'})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", note)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield f"http://{address}:{runner.addresses[0][1]}", came
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("allowed", ["127.0.0.1", None], ids=["a project's store", "the operator's store"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    double: S3Double, s3_bucket: str, status: int, allowed: str | None
) -> None:
    guard = None if allowed is None else UrlGuard(AllowList.parsed([allowed]))
    async with listener("127.0.0.2") as (elsewhere, came):
        double.rule = answering(lambda _: web.Response(status=status, headers={"Location": f"{elsewhere}/x"}))
        async with open_bucket(
            s3_bucket, access_to(double.endpoint), guard=guard, connections=1, retry_policy=ONCE
        ) as bucket:
            for asking in (bucket.get("a"), bucket.put("a", b"x"), bucket.head("a"), bucket.has_any("")):
                with pytest.raises(
                    StoreUnavailableError, match=f"answered {status}, and no redirect is followed"
                ) as caught:
                    await asking
                assert not caught.value.retryable

    assert came == []


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_an_answer_without_an_end_is_not_read_to_its_end(
    double: S3Double, s3_bucket: str, status: int
) -> None:
    sent = 0

    async def endless(_: Asked, request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for _piece in range(200):
            try:
                await response.write(bytes(1024**2))
            except ConnectionError:
                break
            sent += 1
        return response

    double.rule = endless
    async with open_bucket(
        s3_bucket, access_to(double.endpoint), guard=None, connections=1, retry_policy=ONCE
    ) as bucket:
        with pytest.raises(StoreUnavailableError, match="more than 16 MiB") as caught:
            await bucket.has_any("")
        assert not caught.value.retryable

    assert sent < 100


async def test_a_bucket_of_another_region_is_not_looked_for_elsewhere(
    double: S3Double, s3_bucket: str
) -> None:
    async with listener("127.0.0.2") as (elsewhere, came):
        host = elsewhere.removeprefix("http://")
        for region in ("eu-west-1", f"{host}/#", f"x@{host}/"):
            moved = refusal(301, "PermanentRedirect")
            moved.headers["x-amz-bucket-region"] = region
            moved.headers["Location"] = elsewhere
            double.rule = answering(
                lambda _, answer=moved: web.Response(
                    status=answer.status, headers=answer.headers, text=answer.text
                )
            )
            guard = UrlGuard(AllowList.parsed(["127.0.0.1"]))
            async with open_bucket(
                s3_bucket, access_to(double.endpoint), guard=guard, connections=1, retry_policy=ONCE
            ) as bucket:
                with pytest.raises(StoreUnavailableError):
                    await bucket.get("a")

    assert came == []


async def test_a_literal_address_that_the_library_makes_passes_the_guard_too(s3_bucket: str) -> None:
    async with listener("127.0.0.2") as (elsewhere, came):
        guard = UrlGuard(AllowList.parsed(["127.0.0.1"]))
        async with s3_client(access_to(elsewhere), guard=guard, connections=1, retry_policy=ONCE) as client:
            with pytest.raises(UrlRefusedError):
                await Bucket(client, s3_bucket).get("a")

    assert came == []


async def test_a_name_that_leads_elsewhere_by_the_time_of_the_connection_is_refused(
    double: S3Double, s3_bucket: str
) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]

    async def resolve(_: str, __: int) -> list[str]:
        return answers.pop(0)

    endpoint = double.endpoint.replace("127.0.0.1", "pictures.test")
    guard = UrlGuard(AllowList(), resolve=resolve)
    async with open_bucket(
        s3_bucket, access_to(endpoint), guard=guard, connections=1, retry_policy=ONCE
    ) as bucket:
        with pytest.raises(UrlRefusedError):
            await bucket.put("a.png", b"x")

    assert answers == []
    assert double.asked == []


async def test_a_name_that_may_be_called_leads_where_the_guard_said(double: S3Double, s3_bucket: str) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    hosts: list[str] = []

    def stored(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.Response(headers={"ETag": '"x"'})

    double.rule = answering(stored)
    endpoint = double.endpoint.replace("127.0.0.1", "pictures.test")
    guard = UrlGuard(AllowList.parsed(["pictures.test"]), resolve=resolve)
    async with open_bucket(
        s3_bucket, access_to(endpoint), guard=guard, connections=1, retry_policy=ONCE
    ) as bucket:
        await bucket.put("a.png", b"x")

    assert hosts == [endpoint.removeprefix("http://")]


async def test_a_run_of_another_bucket_is_refused_by_every_operation(stores: S3Stores) -> None:
    for location in ("/data/var/projects/comic", "s3://another/iat-projects/1"):
        elsewhere = stores.open(location)
        with pytest.raises(Exception, match="keeps no files; see KROMA_STORE"):
            await elsewhere.size("a.png")
