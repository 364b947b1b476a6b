"""The OpenAPI document as one HTML page without scripts: it works offline, as CDN-fed viewers do not."""

import json
from collections.abc import Iterable
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace;font-size:.875rem}pre{overflow:auto}"
    "summary{cursor:pointer;padding:.25rem 0}table{border-collapse:collapse}"
    "td,th{border:1px solid;padding:.25rem .5rem;text-align:left;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


def reference_page(document: dict[str, Any]) -> str:
    """Every operation and every schema of the document."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{escape(info.get('description', ''))} <a href=/schema/openapi.json>openapi.json</a></p>",
        "<h2>Operations</h2>",
    ]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parts += _operation(method.upper(), path, operation)
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        shown, anchor = escape(json.dumps(schema, indent=2)), escape(name)
        parts.append(
            f"<details id={anchor}><summary><code>{anchor}</code></summary><pre>{shown}</pre></details>"
        )
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterable[str]:
    yield f"<details><summary><code><b>{method}</b> {escape(path)}</code></summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p><table>"
    for parameter in operation.get("parameters", ()):
        place = f"{parameter['in']} <code>{escape(parameter['name'])}</code>"
        yield f"<tr><th>{place}</th><td>{escape(parameter.get('description', ''))}</td></tr>"
    if "requestBody" in operation:
        yield f"<tr><th>body</th><td>{_schema_link(operation['requestBody'])}</td></tr>"
    for status, response in operation["responses"].items():
        yield f"<tr><th>{status}</th><td>{_schema_link(response)} {escape(response['description'])}</td></tr>"
    yield "</table></details>"


def _schema_link(described: dict[str, Any]) -> str:
    content: dict[str, Any] = described.get("content", {})
    reference: str = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    name = escape(reference.rpartition("/")[2])
    return f"<a href=#{name}>{name}</a>" if name else ""
