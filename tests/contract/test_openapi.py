"""The document in the repository, and what makes it useful to read."""

from pathlib import Path
from typing import Any

import pytest

from kroma_api.app import ROUTERS
from kroma_api.describe import described
from kroma_api.openapi import document

PUBLISHED = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return document(ROUTERS)["components"]["schemas"]


def test_the_document_in_the_repository_is_the_applications() -> None:
    assert PUBLISHED.read_text() == described(), "run `make openapi`"


def test_every_schema_says_what_it_is(schemas: dict[str, Any]) -> None:
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []


def test_every_list_shows_where_it_goes_on(schemas: dict[str, Any]) -> None:
    lists = [schema for name, schema in schemas.items() if name.startswith("List")]

    assert len(lists) >= 20
    assert all({"count", "next", "ok"} <= {*schema["required"]} for schema in lists)
