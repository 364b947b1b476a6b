"""Whether OpenAI takes a key, asked for the list of models: it costs nothing and needs no SDK."""

from datetime import timedelta
from http import HTTPStatus
from typing import Final

import msgspec

from kroma.outbound.client import OutboundClient
from kroma.outbound.errors import OutboundError, UrlRefusedError
from kroma.outbound.guard import UrlGuard
from kroma.providers.base import ProviderHealth

_LIMIT: Final = timedelta(seconds=15)
_MAX_BYTES: Final = 4 * 1024**2
"""A list of models is a few hundred lines."""


class _Models(msgspec.Struct, frozen=True):
    data: list[object]


async def ask(guard: UrlGuard, *, api_key: str, base_url: str) -> ProviderHealth:
    """Get the list of models."""
    client = OutboundClient(guard)
    try:
        reply = await client.get(
            f"{base_url.rstrip('/')}/models",
            headers={"Authorization": f"Bearer {api_key}"},
            limit=_LIMIT,
            max_bytes=_MAX_BYTES,
        )
    except UrlRefusedError as exc:
        return ProviderHealth(ok=False, code="address_refused", message=exc.message)
    except OutboundError as exc:
        return ProviderHealth(ok=False, code="unreachable", message=exc.message)
    finally:
        await client.close()
    return _judged(reply.status, reply.body)


def _judged(status: int, body: bytes) -> ProviderHealth:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ProviderHealth(ok=False, code="key_refused", message=f"It refused the API key ({status})")
    if status == HTTPStatus.OK:
        try:
            count = len(msgspec.json.decode(body, type=_Models).data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ProviderHealth(ok=False, code="failing", message="The address answers no list of models")
        return ProviderHealth(ok=True, message=f"Key and address work; it lists {count} models")
    return ProviderHealth(ok=False, code="failing", message=f"It answered with {status}")
