"""Checks every reply of the API against its own OpenAPI document."""

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from kroma_api.app import ROUTERS
from kroma_api.openapi.document import document

ClientFactory = Callable[..., httpx.AsyncClient]
"""Makes a client from an optional database and environment variables."""

_ERROR_SCHEMA = "ErrorResponse"


@cache
def api_document() -> dict[str, Any]:
    """The document, built once for all tests of a process, because that takes a second; nobody changes it."""
    return document(ROUTERS)


class Documentation:
    """The document, made strict: a reply may hold nothing that it does not describe."""

    def __init__(self) -> None:
        self.document = api_document()
        self._components = copy.deepcopy(self.document["components"])
        for name, schema in self._components["schemas"].items():
            if "properties" in schema and not name.endswith("Request"):
                schema["additionalProperties"] = False
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), item)
            for path, item in sorted(self.document["paths"].items(), key=lambda entry: entry[0].count("{"))
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    def check(self, response: httpx.Response) -> None:
        """Raise unless the reply has a documented status and a body of its schema."""
        request = response.request
        path = request.url.raw_path.decode().partition("?")[0]  # %2F stands inside a segment
        if self._is_file(request.method, path, response.status_code):
            return
        if request.method == "OPTIONS" and response.status_code == 204:
            return  # a preflight is between browsers and us
        if response.status_code in {204, 304}:
            assert str(response.status_code) in self._responses(request.method, path)
            assert response.content == b""
            return
        if response.headers["content-type"] == "text/event-stream":
            assert "text/event-stream" in self._responses(request.method, path)["200"]["content"]
            return
        if response.headers["content-type"].startswith("image/"):
            assert "image/*" in self._responses(request.method, path)["200"]["content"]
            return
        assert response.headers["content-type"] == "application/json", f"{request.method} {path}"
        if request.method == "HEAD":
            assert response.content == b""
            return
        self._validator(self._schema_name(request.method, path, response.status_code)).validate(
            response.json()
        )

    def _is_file(self, method: str, path: str, status: int) -> bool:
        """Whether the document promises bytes of any type."""
        item = next((item for pattern, item in self._paths if pattern.fullmatch(path)), {})
        operation = item.get("get" if method == "HEAD" else method.lower(), {})
        content = operation.get("responses", {}).get(str(status), {}).get("content", {})
        return "*/*" in content or "image/webp" in content

    def _responses(self, method: str, path: str) -> Any:
        item = next(item for pattern, item in self._paths if pattern.fullmatch(path))
        return item[method.lower()]["responses"]

    def _schema_name(self, method: str, path: str, status: int) -> str:
        item = next((item for pattern, item in self._paths if pattern.fullmatch(path)), None)
        if item is None or method.lower() not in item:
            assert status in {400, 401, 403, 404, 405, 421}, (
                f"{status} for {method} {path}, which no route takes"
            )
            return _ERROR_SCHEMA
        responses = item[method.lower()]["responses"]
        assert str(status) in responses, f"{method} {path} does not document {status}"
        reference: Any = responses[str(status)]["content"]["application/json"]["schema"]["$ref"]
        return reference.rpartition("/")[2]

    def _validator(self, name: str) -> Draft202012Validator:
        if name not in self._validators:
            schema = {"$ref": f"#/components/schemas/{name}", "components": self._components}
            self._validators[name] = Draft202012Validator(schema)
        return self._validators[name]


class CheckedTransport(httpx.AsyncBaseTransport):
    """Passes requests to an application and checks each reply."""

    def __init__(self, inner: httpx.AsyncBaseTransport, documentation: Documentation) -> None:
        self._inner = inner
        self._documentation = documentation

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        response.request = request
        if not request.url.path.startswith("/schema"):
            self._documentation.check(response)
        return response
