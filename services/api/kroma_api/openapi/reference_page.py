"""The OpenAPI document as one HTML page without scripts: it works offline, as CDN-fed viewers do not."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from itertools import groupby
from typing import Any, Final

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "body{overflow-wrap:anywhere}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.875rem}"
    "pre{overflow:auto;padding:.75rem;background:#8881;border-radius:.25rem}"
    "nav{columns:14rem;margin:1rem 0}nav a{display:block}"
    "details{border-bottom:1px solid #8884}details[open]{padding-bottom:1rem}"
    "summary{cursor:pointer;padding:.375rem 0}summary b{display:inline-block;width:4.5rem}"
    "summary span{opacity:.75;margin-left:.75rem}th small{font-weight:400}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #8884;padding:.25rem .5rem;text-align:left;vertical-align:top}"
    "th{width:16rem}td:nth-child(2){width:14rem}"
    "h3{margin:1rem 0 .25rem;font-size:1rem}"
)

PAGE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The ``Content-Security-Policy`` under which a browser shows the page, and runs nothing."""

Schema = Mapping[str, Any]


def reference_page(document: Mapping[str, Any]) -> str:
    """Every operation and every schema of the document."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    operations: list[tuple[str, str, Schema]] = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    groups = {tag: [*found] for tag, found in groupby(sorted(operations, key=_tag), key=_tag)}
    schemas: Mapping[str, Schema] = document["components"]["schemas"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{_prose(info.get('description', ''))} {len(operations)} operations. ",
        "For programs: <a href=/schema/openapi.json>openapi.json</a>.</p><nav>",
        *(f"<a href='#{_anchor(tag)}'>{escape(tag)} ({len(group)})</a>" for tag, group in groups.items()),
        "<a href=#schemas>schemas</a></nav>",
    ]
    for tag, group in groups.items():
        parts.append(f"<h2 id='{_anchor(tag)}'>{escape(tag)}</h2>")
        for method, path, operation in group:
            parts += _operation(method, path, operation, schemas)
    parts.append("<h2 id=schemas>schemas</h2>")
    for name, schema in schemas.items():
        anchor = escape(name)
        parts.append(f"<details id={anchor}><summary><code>{anchor}</code>")
        parts.append(f"<span>{_prose(schema.get('description', ''))}</span></summary>")
        parts += _fields(schema)
        parts.append("</details>")
    return "".join(parts)


def _tag(operation: tuple[str, str, Schema]) -> str:
    return operation[2]["tags"][0]


def _anchor(tag: str) -> str:
    return escape(f"tag-{tag.replace(' ', '-')}")


def _operation(method: str, path: str, operation: Schema, schemas: Mapping[str, Schema]) -> Iterable[str]:
    yield f"<details id={escape(operation['operationId'])}><summary>"
    yield f"<code><b>{method}</b>{escape(path)}</code>"
    yield f"<span>{_prose(operation.get('description', ''))}</span></summary>"
    if parameters := operation.get("parameters", ()):
        yield "<h3>Parameters</h3><table>"
        for parameter in parameters:
            position = f"<code>{escape(parameter['name'])}</code> <small>{parameter['in']}</small>"
            yield _row(position, _kind(parameter["schema"]), parameter.get("description", ""))
        yield "</table>"
    if "requestBody" in operation:
        yield from _body(operation["requestBody"]["content"], schemas)
    yield "<h3>Replies</h3><table>"
    for status, response in operation["responses"].items():
        content: Mapping[str, Schema] = response.get("content", {})
        kinds = " or ".join(
            _link(body["schema"]) if "$ref" in body["schema"] else f"<code>{escape(media_type)}</code>"
            for media_type, body in content.items()
        )
        yield _row(status, kinds, response["description"])
    yield "</table>"
    status, response = next(iter(operation["responses"].items()))
    for body in response["content"].values():
        yield f"<h3>{status}, for example</h3>{_shown(body['example'])}"
    yield "</details>"


def _body(content: Mapping[str, Schema], schemas: Mapping[str, Schema]) -> Iterator[str]:
    for media_type, body in content.items():
        if "$ref" in body["schema"]:
            yield f"<h3>Body: {_link(body['schema'])}</h3>"
            yield from _fields(schemas[_name(body["schema"])])
        else:
            yield f"<h3>Body: <code>{escape(media_type)}</code></h3>"
            yield from _fields(body["schema"])
        yield _shown(body["example"])


def _fields(schema: Schema) -> Iterator[str]:
    required = frozenset(schema.get("required", ()))
    yield "<table>"
    for name, field in schema.get("properties", {}).items():
        mark = "" if name in required else " <small>optional</small>"
        yield _row(f"<code>{escape(name)}</code>{mark}", _kind(field), field.get("description", ""))
    yield "</table>"


def _row(head: str, kind: str, text: str) -> str:
    return f"<tr><th>{head}</th><td>{kind}</td><td>{_prose(text)}</td></tr>"


def _kind(schema: Schema) -> str:
    """The type in words."""
    match schema:
        case {"$ref": str()}:
            return _link(schema)
        case {"const": value}:
            return f"<code>{escape(json.dumps(value))}</code>"
        case {"enum": values}:
            return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
        case {"oneOf": kinds} | {"anyOf": kinds}:
            return " or ".join(_kind(kind) for kind in kinds)
        case {"type": "array", "items": inner}:
            return f"array of {_kind(inner)}"
        case _:
            return escape(schema.get("type", "any JSON"))


def _name(schema: Schema) -> str:
    return schema["$ref"].rpartition("/")[2]


def _link(schema: Schema) -> str:
    name = escape(_name(schema))
    return f"<a href='#{name}'>{name}</a>"


def _shown(example: object) -> str:
    text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _prose(text: str) -> str:
    """Text in which backticks mark code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if n % 2 else piece for n, piece in enumerate(pieces))
