"""A few generated requests to every operation; the client checks status and body of each reply.

``make fuzz`` sends many more to a running stack, see ``tests/e2e/fuzz.py``.
"""

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.schemas import APIOperation

from kroma.db.engine import Database
from support.builders.generated_requests import OPERATIONS, as_httpx, cases, with_examples
from support.builders.populated_project import Filled
from support.servers.databases import rolled_back


@pytest.fixture
async def db(filled: Filled) -> AsyncIterator[Database]:
    async with rolled_back(filled.engine) as database:
        yield database


@pytest.mark.timeout(120)
@pytest.mark.parametrize("operation", OPERATIONS)
@with_examples(4)
@given(data=st.data())
async def test_no_generated_request_meets_an_error_of_ours_or_an_undocumented_reply(
    client: httpx.AsyncClient, filled: Filled, operation: APIOperation, data: st.DataObject
) -> None:
    case = data.draw(cases(operation, filled.known))

    response = await client.send(as_httpx(case, "http://127.0.0.1"))

    not_ready = operation.path == "/health/ready" and response.status_code == 503
    assert response.status_code < 500 or not_ready, response.text
