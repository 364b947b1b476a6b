import pytest

from kroma.json_depth import MAX_DEPTH, refuse_too_deep


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, id="as deep as may be"),
        pytest.param(b'{"a":[]},' * 10_000, id="wide"),
        pytest.param(b'"' + b"[" * 10_000 + b'"', id="brackets in a text"),
        pytest.param(b'"\\"' + b"{" * 10_000 + b'\\\\"', id="behind escapes"),
        pytest.param(b'"' + b"[" * 10_000, id="in a text without an end"),
    ],
)
def test_json_of_a_usual_depth_passes(raw: bytes) -> None:
    refuse_too_deep(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" * (MAX_DEPTH + 1), id="arrays"),
        pytest.param(b'{"a":' * (MAX_DEPTH + 1), id="objects"),
        pytest.param(b'{"a":["]",' * MAX_DEPTH, id="both"),
        pytest.param(b'["\\\\",' * (MAX_DEPTH + 1), id="behind texts"),
    ],
)
def test_json_that_is_nested_deeper_is_refused(raw: bytes) -> None:
    with pytest.raises(RecursionError):
        refuse_too_deep(raw)
