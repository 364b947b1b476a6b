"""What a reviewer's answers leave out: money, and where and how the installation keeps things.

A reviewer is an outsider who looks at pictures and chooses among them. Routes of money and settings are
closed to them; this takes the same out of the routes that are open, whatever the depth, also out of the
JSON that runs keep as it is.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from litestar.types import Message, Send

_EMPTIED: Final[Mapping[str, object]] = {
    "spend": None,
    "cost": None,
    "settings_snapshot_json": {},
    "storage": {
        "local": {"base_dir": "", "project_root": ""},
        "s3": {
            "enabled": False,
            "bucket": "",
            "prefix": "",
            "region": "",
            "profile": "",
            "endpoint_url": "",
        },
    },
    "storage_uri": "",
    "provider_request_id": "",
}
"""What stays in place of the values of these fields, so that an answer keeps its shape."""
_LEFT_OUT: Final = re.compile(r"\w+_usd|cost_events|provider_calls?|provider_call_id|project_root")
_TEXTS: Final = frozenset({"error", "reason", "message"})
_AMOUNT: Final = re.compile(r"\d[\d.,]* USD")


def for_reviewer(value: object) -> object:
    """Decoded JSON without what a reviewer is not to see."""
    match value:
        case dict():
            fields = cast("dict[str, object]", value)
            return {name: _field(name, held) for name, held in fields.items() if not _is_left_out(name)}
        case list():
            return [for_reviewer(one) for one in cast("list[object]", value)]
        case _:
            return value


def _is_left_out(name: str) -> bool:
    return _LEFT_OUT.fullmatch(name) is not None


def _field(name: str, value: object) -> object:
    if name in _EMPTIED:
        return _EMPTIED[name]
    if name in _TEXTS and isinstance(value, str):
        return _AMOUNT.sub("an amount", value)
    return for_reviewer(value)


class ReviewerView:
    """Sends an answer on; of JSON, what a reviewer may see."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Hold JSON until it is whole; anything else passes."""
        if message["type"] == "http.response.start" and _is_json(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message["body"]
            if not message["more_body"]:
                await self._send_shown(self._start)

    async def _send_shown(self, start: Message) -> None:
        body = msgspec.json.encode(for_reviewer(msgspec.json.decode(self._body))) if self._body else b""
        headers = [(name, value) for name, value in _headers(start) if name.lower() != b"content-length"]
        held = cast("dict[str, Any]", start)
        held["headers"] = [*headers, (b"content-length", b"%d" % len(body))]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def _headers(start: Message) -> list[tuple[bytes, bytes]]:
    return list(cast("dict[str, Any]", start).get("headers", ()))


def _is_json(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"application/json")
        for name, value in _headers(start)
    )
