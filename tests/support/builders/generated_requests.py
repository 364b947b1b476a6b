"""Requests that schemathesis generates from the OpenAPI document, half of them for resources that exist."""

import copy
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.generation.modes import GenerationMode
from schemathesis.schemas import APIOperation

from support.harness.documented_api import api_document

OPERATIONS = [
    pytest.param(operation, id=operation.label)
    for operation in (
        result.ok()
        for result in schemathesis.openapi.from_dict(copy.deepcopy(api_document())).get_all_operations()
    )
]


def with_examples(count: int) -> settings:
    """The same ``count`` examples in each run."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )


def cases(operation: APIOperation, known: Mapping[str, str]) -> st.SearchStrategy[schemathesis.Case]:
    """Right and wrong requests to an operation, at any path and at the known one."""
    in_path = {parameter.name: known[parameter.name] for parameter in operation.path_parameters}
    return st.one_of(
        *(
            operation.as_strategy(mode, path_parameters=path_parameters)
            for mode in GenerationMode
            for path_parameters in (None, in_path)
        )
    )


def as_httpx(case: schemathesis.Case, base_url: str) -> httpx.Request:
    """The request as schemathesis itself would send it."""
    arguments: dict[str, Any] = case.as_transport_kwargs(base_url=base_url)
    arguments["headers"] = {
        name: value.encode("utf-8", "surrogatepass").decode("latin-1")
        for name, value in arguments["headers"].items()
    }
    names = ("method", "url", "headers", "params", "data", "json", "cookies", "files")
    prepared = requests.Request(**{name: arguments[name] for name in names if name in arguments}).prepare()
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in prepared.headers.items()]
    return httpx.Request(prepared.method or "", prepared.url or "", headers=headers, content=prepared.body)
