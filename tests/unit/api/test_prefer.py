from datetime import timedelta

import pytest

from kroma_api.http.prefer import preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=10", 10),
        ('wait="10"', 10),
        ("Wait = 10 ; foo", 10),
        ("wait=0", 0),
        ("wait=99999", 60),
    ],
)
def test_a_wait_is_read_and_at_most_a_minute(header: str, seconds: int) -> None:
    assert preferred_wait(header) == timedelta(seconds=seconds)


@pytest.mark.parametrize("header", [None, "", "wait", "wait=", "wait=-1", "wait=1.5", "wait=x", "await=3"])
def test_anything_else_is_no_wait(header: str | None) -> None:
    assert preferred_wait(header) is None
