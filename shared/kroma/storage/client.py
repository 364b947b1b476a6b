"""The library's S3 client, set up as we use it."""

import os
import socket
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import aioboto3  # pyright: ignore[reportMissingTypeStubs] - it ships none
import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from aiohttp import ClientResponse, ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address
from botocore.loaders import Loader
from yarl import URL

from kroma import __version__
from kroma.config import S3Access
from kroma.outbound.guard import UrlGuard
from kroma.storage.access import RetryPolicy

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client  # the service's types are no part of an installation

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REGION_HEADER: Final = "x-amz-bucket-region"
MAX_ANSWER_BYTES: Final = 16 * 1024**2
"""Of a list or an error: a page of 1,000 keys of 1,024 bytes, each byte of them escaped, has 6 MiB."""


def s3_client(
    access: S3Access, *, guard: UrlGuard | None, connections: int, retry_policy: RetryPolicy
) -> AbstractAsyncContextManager["S3Client"]:
    """A client of the library, for the event loop that enters it; ``guard`` judges its connections.

    It follows no redirect: what the endpoint answers does not choose who is called.

    Raises:
        ProfileNotFound: As the library names it.
    """
    inner = AioSession()
    paths = cast("Any", inner).get_config_variable("data_path")
    inner.register_component("data_loader", _Descriptions(paths.split(os.pathsep) if paths else None))
    session = aioboto3.Session(
        botocore_session=inner,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        region_name=access.region,
        profile_name=access.profile,
    )
    # Untyped, like all of the library.
    opening = cast("Any", session).client(
        "s3", endpoint_url=access.endpoint_url, config=_config(access, guard, connections, retry_policy)
    )
    return cast("AbstractAsyncContextManager[S3Client]", opening)


class _Descriptions(Loader):
    """The library's descriptions of services, without what keeps it from remembering where a bucket is.

    The rules that make an address have the key of an object among their parameters, and none looks at it;
    but the library remembers addresses by all parameters, and would work through the rules for each key
    anew, which is a fifth of what a small put costs.
    """

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> Mapping[str, Any]:
        model = cast("Mapping[str, Any]", super().load_service_model(service_name, type_name, api_version))
        if type_name != "endpoint-rule-set-1":
            return model
        rules = msgspec.json.encode(model["rules"]).decode()
        used = {
            name: parameter
            for name, parameter in model["parameters"].items()
            if f'"{name}"' in rules or f"{{{name}" in rules
        }
        return {**model, "parameters": used}


def _config(
    access: S3Access, guard: UrlGuard | None, connections: int, retry_policy: RetryPolicy
) -> AioConfig:
    config: dict[str, Any] = {
        "connect_timeout": retry_policy.connect_timeout.total_seconds(),
        "read_timeout": retry_policy.read_timeout.total_seconds(),
        "retries": {"mode": "standard", "total_max_attempts": retry_policy.attempts},
        "max_pool_connections": connections,
        "http_session_cls": partial(_StayingSession, guard),
        "signature_version": "s3v4",  # links too, which the library would sign with what services gave up
        "user_agent": f"kroma/{__version__}",  # the library's own is put together anew for each request
        # The hash of every body is part of its signature, which each S3 server checks; the checksums that
        # the library would add by itself are unknown to many of them.
        "s3": {"payload_signing_enabled": True},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if access.endpoint_url is not None and access.region is None:
        config["region_name"] = "us-east-1"  # what servers without regions sign for
    if access.endpoint_url is None:
        # Else links name the address of all regions, which sends some callers elsewhere.
        config["s3"]["addressing_style"] = "virtual"
    if guard is not None:
        config["connector_args"] = {"resolver": _GuardedNames(guard)}
        config["proxies"] = {}  # one from the environment would resolve the name once more
    return AioConfig(**config)


class RedirectedError(Exception):
    """The service sent the client elsewhere, where it does not go."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the service answered {status}, and no redirect is followed")


class AnswerTooLargeError(Exception):
    """The service sent more than any answer that is no object has."""

    def __init__(self) -> None:
        super().__init__(f"the service sent an answer of more than {MAX_ANSWER_BYTES // 1024**2} MiB")


class _BoundedAnswer(ClientResponse):
    """An answer that the library reads whole: lists and errors. Objects are streams, and read elsewhere."""

    async def read(self) -> bytes:
        """The body.

        Raises:
            AnswerTooLargeError: It has no end in sight; the connection is closed.
        """
        if self._body is None:
            body = bytearray()
            async for piece in self.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    self.close()
                    raise AnswerTooLargeError
            self._body = bytes(body)
        return self._body


class _StayingSession(AIOHTTPSession):
    """The library's connections, but each request goes to one host, and a literal address is judged, too.

    No answer is read beyond a bound: a project chooses its endpoint.
    """

    def __init__(self, guard: UrlGuard | None, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(**options)
        self._guard = guard

    async def _get_session(self, proxy_url: str | None) -> "_StayingRequests":
        session = await cast("Any", super())._get_session(proxy_url)  # noqa: SLF001 - nothing else is open
        session._response_class = _BoundedAnswer  # noqa: SLF001 - the library makes the session by itself
        return _StayingRequests(session, self._guard)


class _StayingRequests:
    """What the library asks of a session."""

    def __init__(self, session: ClientSession, guard: UrlGuard | None) -> None:
        self._session = session
        self._guard = guard

    async def request(self, method: str, *, url: URL, **options: Any) -> ClientResponse:  # noqa: ANN401
        if self._guard is not None and is_ip_address(url.host):
            await self._guard.check(str(url.origin()))  # never resolved, so no resolver sees it
        answer = await self._session.request(method, url=url, allow_redirects=False, **options)
        # With a region the library asks the same service once more, signed for that region; without one it
        # would ask for the region, be redirected, and ask again without end.
        if answer.status in _REDIRECTS and _REGION_HEADER not in answer.headers:
            answer.close()
            raise RedirectedError(answer.status)
        return answer


class _GuardedNames(AbstractResolver):
    """Resolves names as the guard does: what it judged is where the connection goes."""

    def __init__(self, guard: UrlGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        target = await self._guard.check(f"http://{host}:{port or 80}")
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in target.addresses]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST
            )
            for address, found in zip(target.addresses, families, strict=True)
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        """Nothing is held."""
