"""What an S3 service and its client report, as the store's errors. No text holds a key or an address."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ValidationError,
)

from kroma.errors import KromaError
from kroma.outbound.errors import HostNotFoundError, UrlRefusedError
from kroma.storage.client import AnswerTooLargeError, RedirectedError
from kroma.storage.errors import (
    BucketNotFoundError,
    ChecksumMismatchError,
    ObjectNotFoundError,
    ObjectRefusedError,
    StoreCredentialsError,
    StoreForbiddenError,
    StoreFullError,
    StoreUnavailableError,
)

PUT: Final = "s3:PutObject"
"""The right to write."""
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429
_FIRST_SERVER_ERROR: Final = 500
_NO_KEY: Final = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404", "KeyTooLongError"})
_DAMAGED: Final = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})
_OF_ALL: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "IllegalLocationConstraintException",
        "InvalidBucketName",
        "InvalidToken",
        "TokenRefreshRequired",
    }
)
"""Codes of refusals that no other object of the bucket would escape."""
_OF_ONE: Final = frozenset({400, 404, 409, 413, 414, 422})
_LATER: Final = frozenset(
    {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "OperationAborted"}
)


@contextmanager
def translated(bucket: str, key: str, right: str) -> Generator[None, None, None]:
    """Errors of requests about ``key`` that need ``right``."""
    try:
        yield
    except ClientError as exc:
        raise _of_answer(exc, bucket, key, right) from exc
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as exc:
        raise StoreCredentialsError(bucket, str(exc)) from exc
    except InvalidRegionError as exc:
        # Its text is made for programs, and a region may be anything that somebody typed.
        raise _final(bucket, "its region is no name of a region, like eu-central-1") from exc
    except (ParamValidationError, ValidationError) as exc:
        raise _final(key or bucket, f"the request is not valid: {exc}") from exc
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise _of_connection(exc, key or bucket) from exc


def _of_answer(exc: ClientError, bucket: str, key: str, right: str) -> KromaError:
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = exc.response.get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        return BucketNotFoundError(bucket)
    for codes, error in ((_DAMAGED, ChecksumMismatchError), (_FULL, StoreFullError)):
        if code in codes:
            return error(key)
    is_of_one = bool(key) and status in _OF_ONE and code not in _OF_ALL | _LATER
    # What is to be written cannot be missing; only the upload that a part is of can.
    is_put = right == PUT and code != "NoSuchUpload"
    if (code in _NO_KEY or status == _NOT_FOUND) and not is_put:
        return ObjectNotFoundError(key)
    if status == _FORBIDDEN and code not in _LATER:
        return StoreForbiddenError(bucket, right, code)
    if is_of_one:
        return ObjectRefusedError(key, f"the service answered {status} ({code})")
    error = StoreUnavailableError(key or bucket, f"the service answered {status} ({code})")
    is_passing = status >= _FIRST_SERVER_ERROR or status == _TOO_MANY_REQUESTS or code in _LATER
    error.retryable = is_passing
    return error


def _of_connection(exc: Exception, name: str) -> KromaError:
    inner = exc.kwargs.get("error") if isinstance(exc, HTTPClientError) else None
    if isinstance(inner, UrlRefusedError):
        return inner
    if isinstance(inner, RedirectedError | AnswerTooLargeError):
        return _final(name, str(inner))
    if isinstance(inner, HostNotFoundError):
        return StoreUnavailableError(name, "the host name of the service was not found")
    if isinstance(exc, (ConnectTimeoutError, ReadTimeoutError, TimeoutError)):
        return StoreUnavailableError(name, "the service did not answer in time")
    if isinstance(exc, EndpointConnectionError):
        return StoreUnavailableError(name, "no connection to the service could be made")
    return StoreUnavailableError(name, "the connection to the service broke")


def _final(name: str, reason: str) -> StoreUnavailableError:
    error = StoreUnavailableError(name, reason)
    error.retryable = False
    return error
