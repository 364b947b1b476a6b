"""The document in the repository, and what makes it useful to read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kroma_api.export_openapi import described
from kroma_api.openapi.reference_page import reference_page
from support.harness.documented_api import api_document

PUBLISHED = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT = api_document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    described = [*operation["responses"].values(), operation.get("requestBody", {})]
    yield from (body for one in described for body in one.get("content", {}).values())


def test_the_document_in_the_repository_is_the_applications() -> None:
    assert PUBLISHED.read_text() == described(), "run `make openapi`"


def test_every_schema_says_what_it_is() -> None:
    assert [name for name, schema in SCHEMAS.items() if not schema.get("description")] == []


def test_every_field_of_a_request_says_what_it_takes() -> None:
    asked = {name: schema for name, schema in SCHEMAS.items() if name.endswith(("Request", "Input"))}

    assert len(asked) >= 35
    assert [
        f"{name}.{field}"
        for name, schema in asked.items()
        for field, described_as in schema["properties"].items()
        if not described_as.get("description")
    ] == []


def test_every_operation_and_parameter_has_a_description() -> None:
    for label, operation in operations():
        assert operation["summary"], label
        assert operation["description"], label
        assert all(parameter["description"] for parameter in operation.get("parameters", ())), label


def test_every_reply_says_when_it_comes() -> None:
    for label, operation in operations():
        assert all(len(reply["description"]) > 8 for reply in operation["responses"].values()), label


@pytest.mark.parametrize("operation", [pytest.param(found, id=label) for label, found in operations()])
def test_every_body_has_an_example_that_keeps_its_schema(operation: dict[str, Any]) -> None:
    for content in contents(operation):
        assert "example" in content
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(content["example"])


def test_every_body_of_a_request_has_an_example() -> None:
    bodies = (operation.get("requestBody", {}).get("content", {}) for _, operation in operations())
    examples = [body["application/json"]["example"] for body in bodies if "application/json" in body]

    assert len(examples) > 30
    assert all(examples)


def test_the_page_shows_every_operation_and_schema_and_loads_nothing() -> None:
    page = reference_page(DOCUMENT)

    for label, operation in operations():
        method, _, path = label.partition(" ")
        assert f"<b>{method}</b>{path}</code>" in page
        assert f"id={operation['operationId']}>" in page
    for name in SCHEMAS:
        assert f"<details id={name}>" in page
    for loaded in ("<script", "<link", "<img", "src=", "url(", "@import", "://"):
        assert loaded not in page


def test_every_list_shows_where_it_goes_on() -> None:
    lists = [schema for name, schema in SCHEMAS.items() if name.startswith("List")]

    assert len(lists) >= 20
    assert all({"count", "next", "ok"} <= {*schema["required"]} for schema in lists)
