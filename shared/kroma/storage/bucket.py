"""One S3 bucket: what a store and a sync ask of it, with the service's errors as the store's."""

import base64
import mimetypes
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from kroma.config import S3Access
from kroma.outbound.guard import UrlGuard
from kroma.storage.access import RetryPolicy
from kroma.storage.base import ObjectStream
from kroma.storage.bucket_errors import PUT, translated
from kroma.storage.checksums import check_chunks, refuse_other, sha256_of
from kroma.storage.client import s3_client
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError, StoreUnavailableError

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client  # the service's types are no part of an installation

DELETED_AT_ONCE: Final = 1000
"""What one request may delete, by the protocol."""
_CHUNK_BYTES: Final = 256 * 1024
_BEYOND_XML: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
"""What a list of keys in XML 1.0 cannot hold, or not for certain."""
_SHA256: Final = "sha256"
"""The name of the metadata that holds a whole object's SHA-256, in hex."""


class BucketObject(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket says of an object."""

    key: str
    size_bytes: int
    etag: str
    """Without quotes."""
    sha256: str | None = None
    """Lower-case hex, where we recorded it; a listing never says it."""


class BucketUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    begun_at: datetime


class BucketPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part that arrived."""

    number: int
    """From 1."""
    etag: str
    """Without quotes; of an upload that is not encrypted by a key service, the MD5 in hex."""
    size_bytes: int = 0


@asynccontextmanager
async def open_bucket(
    name: str,
    access: S3Access,
    *,
    guard: UrlGuard | None,
    connections: int,
    retry_policy: RetryPolicy | None = None,
) -> AsyncGenerator["Bucket"]:
    """A client of one bucket, in the running event loop; the service is not asked anything yet.

    Args:
        guard: Judges the endpoint, now and at every connection, where a user chose it; None trusts it. An
            endpoint of AWS itself is not judged: in a private network its names lead to private addresses.
        connections: At a time, at most.
        retry_policy: None is the usual one.

    Raises:
        UrlRefusedError: The guard forbids the endpoint.
        HostNotFoundError: The endpoint's name has no address.
        StoreCredentialsError: The profile does not exist or cannot be used.
    """
    judged = guard if access.endpoint_url is not None else None
    if judged is not None:
        # A literal address is never resolved, so the client's resolver would not see it.
        await judged.check(access.endpoint_url or "")
    async with AsyncExitStack() as exits:
        with translated(name, "", "access"):
            client = await exits.enter_async_context(
                s3_client(
                    access, guard=judged, connections=connections, retry_policy=retry_policy or RetryPolicy()
                )
            )
        yield Bucket(client, name)


class Bucket:
    """Implements what S3 can do with objects; keys, in errors too, are what follows ``prefix``.

    Beside what its methods name, each raises ``StoreForbiddenError`` when a right is missing,
    ``BucketNotFoundError``, ``StoreCredentialsError``, and ``StoreUnavailableError`` when the service fails.
    """

    def __init__(self, client: "S3Client", name: str, *, prefix: str = "") -> None:
        """``client`` is closed by who made it."""
        self._client = client
        self.name = name
        self._prefix = prefix

    def below(self, prefix: str) -> "Bucket":
        """The same bucket, as if it held nothing but what is below a prefix that ends in a slash."""
        return Bucket(self._client, self.name, prefix=self._prefix + prefix)

    async def list_objects(self, prefix: str) -> AsyncGenerator[BucketObject]:
        """Every object whose key begins with ``prefix``, by key in byte order, a page at a time."""
        token: dict[str, Any] = {}
        while True:
            with self._asked(prefix, "s3:ListBucket"):
                page = await self._client.list_objects_v2(
                    Bucket=self.name, Prefix=self._prefix + prefix, **token
                )
            for found in page.get("Contents", []):
                yield BucketObject(
                    key=found.get("Key", "").removeprefix(self._prefix),
                    size_bytes=found.get("Size", 0),
                    etag=_plain(found.get("ETag", "")),
                )
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page.get("NextContinuationToken", "")}

    async def has_any(self, prefix: str) -> bool:
        with self._asked(prefix, "s3:ListBucket"):
            page = await self._client.list_objects_v2(
                Bucket=self.name, Prefix=self._prefix + prefix, MaxKeys=1
            )
        return bool(page.get("Contents"))

    async def head(self, key: str) -> BucketObject | None:
        """What is known of an object; None when there is none."""
        try:
            with self._asked(key, "s3:GetObject"):
                found = await self._client.head_object(Bucket=self.name, Key=self._prefix + key)
        except ObjectNotFoundError:
            return None
        return BucketObject(
            key=key,
            size_bytes=_told(found, "ContentLength", key),
            etag=_plain(_told(found, "ETag", key)),
            sha256=found.get("Metadata", {}).get(_SHA256),
        )

    async def put(
        self, key: str, data: bytes, *, sha256: str | None = None, content_type: str | None = None
    ) -> BucketObject:
        """Write an object whole; the service refuses bytes that do not have the checksum.

        Raises:
            ChecksumMismatchError: ``data`` does not have ``sha256`` (hex), or other bytes arrived.
            StoreFullError: The service has no space left.
        """
        digest = await sha256_of(data)
        refuse_other(key, sha256, digest)
        with self._asked(key, PUT):
            stored = await self._client.put_object(
                Bucket=self.name,
                Key=self._prefix + key,
                Body=data,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
                ContentType=content_type or type_by_name(key),
                Metadata={_SHA256: digest},
            )
        return BucketObject(key=key, size_bytes=len(data), etag=_plain(stored.get("ETag", "")), sha256=digest)

    async def get(self, key: str, *, limit_bytes: int | None = None, sha256: str | None = None) -> bytes:
        """Read an object, verified against what we recorded of it, and ``sha256`` where that is given.

        Raises:
            ObjectNotFoundError: Nothing has this key.
            ObjectTooLargeError: It is larger than ``limit_bytes``.
            ChecksumMismatchError: The bytes are not what was written.
        """
        async with self.open_stream(key, sha256=sha256) as stream:
            if limit_bytes is not None and stream.size_bytes > limit_bytes:
                raise ObjectTooLargeError(key, stream.size_bytes, limit_bytes)
            return b"".join([chunk async for chunk in stream.chunks])

    @asynccontextmanager
    async def open_stream(
        self, key: str, *, start: int = 0, length: int | None = None, sha256: str | None = None
    ) -> AsyncGenerator[ObjectStream]:
        """Read an object, or up to ``length`` bytes from ``start``; a negative ``start`` counts from the end.

        A whole object is verified as with ``get``, before its last chunk is handed out.

        Raises:
            ObjectNotFoundError: Nothing has this key.
        """
        reach = _range_header(start, length)
        found = None
        with self._asked(key, "s3:GetObject"):
            try:
                found = await self._client.get_object(Bucket=self.name, Key=self._prefix + key, **reach)
            except self._client.exceptions.ClientError as exc:
                if exc.response.get("Error", {}).get("Code") != "InvalidRange":
                    raise
        if found is None:  # nothing of it is in the range, or it is empty
            known = await self.head(key)
            if known is None:
                raise ObjectNotFoundError(key)
            yield ObjectStream(size_bytes=known.size_bytes, chunks=_nothing())
            return
        sent_bytes: int = _told(found, "ContentLength", key)
        whole_bytes = _size_in(found.get("ContentRange")) or sent_bytes
        expected = None
        if sent_bytes == whole_bytes:
            recorded = found.get("Metadata", {}).get(_SHA256)
            if sha256 is not None and recorded is not None:
                refuse_other(key, sha256, recorded)
            expected = sha256 or recorded
        body = found["Body"]
        try:
            yield ObjectStream(
                size_bytes=whole_bytes, chunks=check_chunks(key, self._read(key, body), expected)
            )
        finally:
            cast("Any", body).close()  # gives back the connection, or ends it when bytes are still under way

    async def copy(self, source_key: str, target_key: str, *, sha256: str | None = None) -> None:
        """Copy an object up to 5 GiB inside the service, with what is recorded of it, or with ``sha256``.

        Raises:
            ObjectNotFoundError: Nothing has the source's key.
        """
        replaced: dict[str, Any] = {}
        if sha256 is not None:
            replaced = {
                "MetadataDirective": "REPLACE",
                "Metadata": {_SHA256: sha256},
                "ContentType": type_by_name(target_key),
            }
        with self._asked(source_key, "s3:PutObject and s3:GetObject"):
            await self._client.copy_object(
                Bucket=self.name,
                Key=self._prefix + target_key,
                CopySource={"Bucket": self.name, "Key": self._prefix + source_key},
                **replaced,
            )

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is missing is no error.

        Raises:
            StoreUnavailableError: The service kept one; others may be gone.
        """
        plain = [key for key in keys if not _BEYOND_XML.search(key)]
        alone = [key for key in keys if _BEYOND_XML.search(key)]
        if len(plain) == 1:
            alone += plain
            plain = []
        for key in alone:
            with self._asked(key, "s3:DeleteObject"):
                await self._client.delete_object(Bucket=self.name, Key=self._prefix + key)
        for first in range(0, len(plain), DELETED_AT_ONCE):
            batch = plain[first : first + DELETED_AT_ONCE]
            with self._asked(batch[0], "s3:DeleteObject"):
                answer = await self._client.delete_objects(
                    Bucket=self.name,
                    Delete={"Objects": [{"Key": self._prefix + key} for key in batch], "Quiet": True},
                )
            for kept in answer.get("Errors", []):
                key = kept.get("Key", batch[0]).removeprefix(self._prefix)
                raise StoreUnavailableError(key, f"the service kept it ({kept.get('Code')})")

    async def begin_upload(
        self, key: str, *, sha256: str | None = None, content_type: str | None = None
    ) -> str:
        """Begin an upload in parts, which nobody sees until it is completed.

        Args:
            sha256: Of the whole, in hex; recorded, for readers to verify.
            content_type: None goes by the name.

        Returns:
            The upload's id.
        """
        with self._asked(key, PUT):
            begun = await self._client.create_multipart_upload(
                Bucket=self.name,
                Key=self._prefix + key,
                ContentType=content_type or type_by_name(key),
                Metadata={} if sha256 is None else {_SHA256: sha256},
            )
        return _told(begun, "UploadId", key)

    async def list_uploads(self, prefix: str) -> AsyncGenerator[BucketUpload]:
        """Uploads in parts that are not finished, of keys that begin with ``prefix``."""
        marker: dict[str, Any] = {}
        while True:
            with self._asked(prefix, "s3:ListBucketMultipartUploads"):
                page = await self._client.list_multipart_uploads(
                    Bucket=self.name, Prefix=self._prefix + prefix, **marker
                )
            for found in page.get("Uploads", []):
                key, begun_at = found.get("Key"), found.get("Initiated")
                if key is not None and begun_at is not None:
                    yield BucketUpload(
                        key=key.removeprefix(self._prefix),
                        upload_id=found.get("UploadId", ""),
                        begun_at=begun_at,
                    )
            if not page.get("IsTruncated"):
                return
            marker = {
                "KeyMarker": page.get("NextKeyMarker", ""),
                "UploadIdMarker": page.get("NextUploadIdMarker", ""),
            }

    async def list_parts(self, key: str, upload_id: str) -> list[BucketPart]:
        """The parts that arrived, by number; none of an upload that is gone."""
        parts: list[BucketPart] = []
        marker: dict[str, Any] = {}
        while True:
            try:
                with self._asked(key, "s3:ListMultipartUploadParts"):
                    page = await self._client.list_parts(
                        Bucket=self.name, Key=self._prefix + key, UploadId=upload_id, **marker
                    )
            except ObjectNotFoundError:
                return []
            parts += [
                BucketPart(
                    number=found.get("PartNumber", 0),
                    etag=_plain(found.get("ETag", "")),
                    size_bytes=found.get("Size", 0),
                )
                for found in page.get("Parts", [])
            ]
            if not page.get("IsTruncated"):
                return parts
            marker = {"PartNumberMarker": page.get("NextPartNumberMarker", 0)}

    async def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Send one part, at least 5 MiB unless it is the last; its hash is in the signature of the request.

        Returns:
            The part's tag, without quotes.

        Raises:
            ObjectNotFoundError: The upload is gone.
            ChecksumMismatchError: Other bytes arrived.
            StoreFullError: The service has no space left.
        """
        with self._asked(key, PUT):
            stored = await self._client.upload_part(
                Bucket=self.name, Key=self._prefix + key, UploadId=upload_id, PartNumber=number, Body=data
            )
        return _plain(_told(stored, "ETag", key))

    async def complete_upload(self, key: str, upload_id: str, parts: Sequence[BucketPart]) -> str:
        """Make an object of its parts; it is visible from here on.

        Returns:
            The object's tag, without quotes.

        Raises:
            ObjectNotFoundError: The upload is gone.
            StoreUnavailableError: A part is missing, or is not what its tag says.
        """
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        with self._asked(key, PUT):
            done = await self._client.complete_multipart_upload(
                Bucket=self.name,
                Key=self._prefix + key,
                UploadId=upload_id,
                MultipartUpload={"Parts": cast("Any", listed)},
            )
        return _plain(_told(done, "ETag", key))

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Give an upload up, with its parts; one that is gone is no error."""
        try:
            with self._asked(key, "s3:AbortMultipartUpload"):
                await self._client.abort_multipart_upload(
                    Bucket=self.name, Key=self._prefix + key, UploadId=upload_id
                )
        except ObjectNotFoundError:
            return

    def _asked(self, key: str, right: str) -> Any:  # noqa: ANN401
        return translated(self.name, key, right)

    async def _read(self, key: str, body: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
        while True:
            with self._asked(key, "s3:GetObject"):
                chunk = await body.read(_CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def type_by_name(key: str) -> str:
    """The MIME type that a name's ending stands for."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


def _range_header(start: int, length: int | None) -> dict[str, Any]:
    if start < 0:
        return {"Range": f"bytes={start}"}
    if start == 0 and length is None:
        return {}
    return {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}


def _size_in(content_range: str | None) -> int | None:
    """Of the whole object, after ``bytes 0-9/1234``."""
    whole = (content_range or "").rpartition("/")[2]
    return int(whole) if whole.isdigit() else None


def _told(answer: Mapping[str, Any], name: str, key: str) -> Any:  # noqa: ANN401 - as the library types it
    """What an answer about a key must say.

    Raises:
        StoreUnavailableError: It does not.
    """
    if name not in answer:
        raise StoreUnavailableError(key, f"the service's answer has no {name}")
    return answer[name]


def _plain(etag: str) -> str:
    return etag.strip('"')


async def _nothing() -> AsyncGenerator[bytes]:
    return
    yield b""
