"""Generated requests to every operation; the client checks status and body of each reply.

``make fuzz`` runs it with 200 examples for each operation, ``make test`` with a few.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from schemathesis.schemas import APIOperation

from databases import rolled_back
from filled import Filled
from kroma.db.engine import Database
from kroma_api.app import ROUTERS
from kroma_api.openapi import document

EXAMPLES = int(os.environ.get("KROMA_FUZZ_EXAMPLES", "4"))
BASE_URL = "http://kroma.test"
OPERATIONS = [
    pytest.param(operation, id=operation.label)
    for operation in (
        result.ok() for result in schemathesis.openapi.from_dict(document(ROUTERS)).get_all_operations()
    )
]


def as_httpx(case: schemathesis.Case) -> httpx.Request:
    """The request as schemathesis itself would send it."""
    arguments: dict[str, Any] = case.as_transport_kwargs(base_url=BASE_URL)
    arguments["headers"] = {
        name: value.encode("utf-8", "surrogatepass").decode("latin-1")
        for name, value in arguments["headers"].items()
    }
    names = ("method", "url", "headers", "params", "data", "json", "cookies", "files")
    prepared = requests.Request(**{name: arguments[name] for name in names if name in arguments}).prepare()
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in prepared.headers.items()]
    return httpx.Request(prepared.method or "", prepared.url or "", headers=headers, content=prepared.body)


@pytest.fixture
async def db(filled: Filled) -> AsyncIterator[Database]:
    async with rolled_back(filled.engine) as database:
        yield database


@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[*HealthCheck],
)
@given(data=st.data())
async def test_no_generated_request_meets_an_error_of_ours_or_an_undocumented_reply(
    client: httpx.AsyncClient, filled: Filled, operation: APIOperation, data: st.DataObject
) -> None:
    in_path = {parameter.name: filled.known[parameter.name] for parameter in operation.path_parameters}
    cases = [
        operation.as_strategy(mode, path_parameters=path_parameters)
        for mode in GenerationMode
        for path_parameters in (None, in_path)
    ]
    case = data.draw(st.one_of(*cases))

    response = await client.send(as_httpx(case))

    assert response.status_code < 500, response.text
