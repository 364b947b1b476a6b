"""Every operation of the document against every kind of bad input: never a 5xx, always the envelope.

The client checks each reply against the document, so an undocumented status or body fails here too.
"""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from kroma.config import Settings
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.instructions.signature import CALLBACK_PATH, Pass, callback_signer
from support.builders.populated_project import Filled
from support.harness.documented_api import api_document
from support.servers.databases import rolled_back

pytestmark = pytest.mark.timeout(120)

DOCUMENT = api_document()
OPERATIONS = [
    pytest.param(method, path, id=f"{method.upper()} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method in item
]
BODY_LIMIT = 2 * 1024**2
TEXTS = {
    "empty": "",
    "blank": " \t\n ",
    "1 MB": "a" * 1024**2,
    "NUL": "a\0b",
    "right to left": "\u202eab\u05d0\u0627",
    "emoji": "\U0001f9d1\u200d\U0001f3a8",
    "combining": "e\u0301" * 300,
    "traversal": "../../../etc/passwd",
    "quotes": "'\";--",
    "not a character": "\uffff",
}
VALUES = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    1.5,
    "text",
    [],
    {},
    [None],
    [1],
    ["x"] * 10_000,
    {"a": {"b": [1]}},
]

ODD_SEGMENTS = ("%00", "%ff", "%F0%9F%A7%91", "%20", "a" * 5000, "..%2f", "%2e%2e", "{}", "-")
ODD_VALUES = ("", "x", "-1", "0", "1.5", "9" * 40, "%00", "%ff", "%F0%9F%A7%91", "a" * 5000, "1&limit=2")


@pytest.fixture
async def db(filled: Filled) -> AsyncIterator[Database]:
    async with rolled_back(filled.engine) as database:
        yield database


def takes_json(method: str, path: str) -> bool:
    body = DOCUMENT["paths"][path][method].get("requestBody", {"content": {}})
    return "application/json" in body["content"]


class Sent(NamedTuple):
    """A body as bytes, and what it is."""

    name: str
    content: bytes
    content_type: str | None = "application/json"


def fields_of(operation: dict[str, Any]) -> dict[str, Any]:
    """The schemas of a body's fields."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]


def good_body(operation: dict[str, Any]) -> dict[str, Any]:
    """The example of a body; its name, if it has one, is new each time."""
    example = operation["requestBody"]["content"]["application/json"]["example"]
    return example | {"name": uuid4().hex} if "name" in example else example


def takes_text(schema: dict[str, Any]) -> bool:
    """Whether a field is a text."""
    return any(kind.get("type") == "string" for kind in schema.get("oneOf", [schema]))


def bad_requests() -> Iterator[Sent]:
    """What a careless or hostile client might send anywhere."""
    yield Sent("nothing", b"")
    yield Sent("no content type", b"{}", None)
    yield Sent("another content type", b"{}", "text/plain")
    yield Sent("an unreadable content type", b"{}", ";;;")
    for text in (b"{", b"nul", b"\xff\xfe", b'{"a": NaN}', b"[]", b'"x"', b"1", b"null", b"true", b"{}{}"):
        yield Sent(text.decode("latin-1"), text)
    yield Sent("deep arrays", b"[" * 100_000)
    yield Sent("deep objects", b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    yield Sent("oversized", b'{"a": "' + b"a" * BODY_LIMIT + b'"}')
    yield Sent("unknown keys", b'{"no_such_key": 1, "": 2}')
    yield Sent("10,000 unknown keys", json.dumps({f"k{n}": n for n in range(10_000)}).encode())


def bad_fields(operation: dict[str, Any]) -> Iterator[Sent]:
    """Each field gone wrong by itself, in a body that is right otherwise, and all at once."""
    fields = [*fields_of(operation)]

    def with_raw(field: str, raw: str) -> bytes:
        others = {name: value for name, value in good_body(operation).items() if name != field}
        return f"{json.dumps(others)[:-1]}{', ' * bool(others)}{json.dumps(field)}: {raw}}}".encode()

    for field in fields:
        for value in VALUES:
            yield Sent(f"{field} = {str(value)[:30]}", with_raw(field, json.dumps(value)))
        for name, text in TEXTS.items():
            yield Sent(f"{field} = {name}", with_raw(field, json.dumps(text)))
        yield Sent(f"{field} = lone surrogate", with_raw(field, '"\\ud800"'))
        yield Sent(f"{field} = NUL below", with_raw(field, '{"a": ["\\u0000"]}'))
        yield Sent(f"{field} = deep", with_raw(field, "[" * 900 + "]" * 900))
        yield Sent(f"{field} twice", with_raw(field, f'1, {json.dumps(field)}: "x"'))
    for name, text in TEXTS.items():
        yield Sent(f"all = {name}", json.dumps(dict.fromkeys(fields, text)).encode()[: BODY_LIMIT + 1])
    yield Sent("all = x", json.dumps(dict.fromkeys(fields, "x")).encode())
    yield Sent("all = lone surrogate", json.dumps(dict.fromkeys(fields, "\ud800")).encode())


def assert_clean(response: httpx.Response, what: str) -> None:
    not_ready = response.request.url.path == "/health/ready" and response.status_code == 503
    assert response.status_code < 500 or not_ready, f"{what}: {response.text[:300]}"
    if response.status_code >= 400:
        body = response.json()
        assert body["ok"] is False, what
        assert {"ok", "error", "error_kind", "error_code"} <= set(body), what
    else:
        assert response.json()["ok"] is True, what


def address_of(path: str, filled: Filled, data_dir: Path) -> str:
    """Where a request is read to its last byte: the body of a callback only with its signature."""
    address = path.format_map(filled.known)
    if not path.startswith(CALLBACK_PATH):
        return address
    signer = callback_signer(Settings.from_environment({}, data_dir=data_dir))
    sending = Pass(instruction_id=UUID(filled.known["instruction_id"]), attempt=1, fence=1)
    return f"{address}?sig={signer.signature(sending, valid_until=utc_now() + timedelta(minutes=5))}"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_bad_bodies_are_refused_in_the_envelope(
    filled: Filled, client: httpx.AsyncClient, data_dir: Path, method: str, path: str
) -> None:
    operation = DOCUMENT["paths"][path][method]
    address = address_of(path, filled, data_dir)
    if takes_json(method, path):
        bodies = chain(bad_requests(), bad_fields(operation))
    else:
        bodies = bad_requests() if "requestBody" in operation else islice(bad_requests(), 4)
    for sent in bodies:
        headers = {} if sent.content_type is None else {"Content-Type": sent.content_type}
        response = await client.request(method.upper(), address, content=sent.content, headers=headers)
        assert_clean(response, sent.name)


@pytest.mark.parametrize(("method", "path"), [p for p in OPERATIONS if takes_json(*p.values)])
async def test_a_nul_is_refused_with_the_name_of_its_field(
    filled: Filled, client: httpx.AsyncClient, data_dir: Path, method: str, path: str
) -> None:
    operation = DOCUMENT["paths"][path][method]
    address = address_of(path, filled, data_dir)
    for field, schema in fields_of(operation).items():
        value = "a\0b" if takes_text(schema) else {"settings": {"project": {"name": "\0"}}}.get(field, ["\0"])
        body = good_body(operation) | {field: value}
        response = await client.request(method.upper(), address, json=body)
        if response.status_code != 422:  # a field that takes neither a text nor any JSON
            assert response.status_code == 400, (field, response.text)
            assert f"'{field}" in response.json()["error"]


async def test_a_nul_in_the_query_is_refused_with_the_name_of_the_parameter(
    filled: Filled, client: httpx.AsyncClient
) -> None:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    address = f"{path.format_map(filled.known)}?{parameter['name']}=a%00b"
                    response = await client.request(method.upper(), address)
                    assert response.status_code == 400, address
                    assert f"'{parameter['name']}'" in response.json()["error"]


async def test_10_000_wrong_elements_of_a_section_are_all_named(
    filled: Filled, client: httpx.AsyncClient
) -> None:
    body = {"settings": {"characters": [{}] * 10_000}}
    response = await client.post(f"/api/projects/{filled.known['slug']}/bootstrap-import", json=body)
    assert response.status_code == 400
    assert len(response.json()["errors"]) == 10_000


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_bad_paths_and_queries_are_refused_in_the_envelope(
    filled: Filled, client: httpx.AsyncClient, method: str, path: str
) -> None:
    operation = DOCUMENT["paths"][path][method]
    known = filled.known
    in_path = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
    in_query = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
    body = {"json": {}} if "requestBody" in operation else {}

    for name in in_path:
        values = ("x", str(uuid4()), known[name].upper(), *ODD_SEGMENTS)
        for value in values:
            address = path.format_map({**known, name: value})
            assert_clean(await client.request(method.upper(), address, **body), address[:200])
    for name in in_query:
        for value in ODD_VALUES:
            address = f"{path.format_map(known)}?{name}={value}"
            assert_clean(await client.request(method.upper(), address, **body), address[:200])


@pytest.mark.parametrize(("method", "path"), [p for p in OPERATIONS if p.values[1].count("{") > 1])
async def test_what_belongs_to_another_project_is_not_found(
    filled: Filled, client: httpx.AsyncClient, method: str, path: str
) -> None:
    known = filled.known
    response = await client.request(
        method.upper(),
        path.format_map({**known, "slug": "nowhere" if "{provider_code}" in path else "other"}),
        json={"title": "x"} if "requestBody" in DOCUMENT["paths"][path][method] else None,
    )
    assert response.status_code in {400, 404}, response.text
