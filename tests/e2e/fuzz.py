"""``make fuzz``: many generated requests to every operation of a running stack.

Not named ``test_...``, so that ``make test`` leaves it alone: it takes minutes.
"""

import asyncio
import os
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from kroma.db.engine import Database
from support.builders.generated_requests import OPERATIONS, cases, with_examples
from support.builders.populated_project import fill_project
from support.servers.kroma_stack import Up

EXAMPLES = int(os.environ.get("KROMA_FUZZ_EXAMPLES", "200"))


@pytest.fixture
def known(shared_stack: Up) -> dict[str, str]:
    """What is in a project of the test's own."""

    async def fill() -> dict[str, str]:
        db = Database.connect(shared_stack.state["database_url"])
        async with httpx.AsyncClient(base_url=shared_stack.address, headers=bearer(shared_stack)) as client:
            filled = await fill_project(client, db, f"Filled {uuid4().hex}")
        await db.close()
        return filled

    return asyncio.run(fill())


def bearer(up: Up) -> dict[str, str]:
    return {"Authorization": f"Bearer {up.token()}"}


# All checks of schemathesis but two, where the contract knows better than JSON Schema: rules like "not blank"
# or "at least one of" refuse what fits the schema, and unknown query parameters are ignored.
BESIDE_THE_CONTRACT = [positive_data_acceptance, negative_data_rejection]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", OPERATIONS)
@with_examples(EXAMPLES)
@given(data=st.data())
def test_a_running_stack_holds_what_the_document_promises(
    shared_stack: Up, known: dict[str, str], operation: APIOperation, data: st.DataObject
) -> None:
    case = data.draw(cases(operation, known))

    case.call_and_validate(
        base_url=shared_stack.address,
        headers=bearer(shared_stack),
        excluded_checks=BESIDE_THE_CONTRACT,
        timeout=60,
    )
