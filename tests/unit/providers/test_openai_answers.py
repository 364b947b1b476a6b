"""What a status, a header and a body mean."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroma.providers.answers import retry_after
from kroma.providers.base import AnswerLostError, ProviderFailedError, ProviderKeyRefusedError
from kroma.providers.openai_answers import (
    ImageReply,
    RawAnswer,
    failure,
    picture_of,
    read_reply,
    request_id,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def answer(status: int, *, body: bytes = b"", **headers: str) -> RawAnswer:
    return RawAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def error_body(**error: object) -> bytes:
    return json.dumps({"error": {"message": "sk-secret in the provider's prose", **error}}).encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("", None, id="nothing"),
        pytest.param("soon", None, id="prose"),
        pytest.param("nan", None, id="no number"),
        pytest.param("inf", None, id="for ever"),
        pytest.param("3", timedelta(seconds=3), id="seconds"),
        pytest.param(" 0.5 ", timedelta(seconds=0.5), id="fractions"),
        pytest.param("-4", timedelta(), id="in the past"),
        pytest.param("1e30", timedelta(days=1), id="too long"),
        pytest.param("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30), id="a date"),
        pytest.param("Mon, 23 Nov 2026 11:00:00 GMT", timedelta(), id="a date that is over"),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, wanted: timedelta | None) -> None:
    assert retry_after({"retry-after": text}, now=NOW) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("req_0a-9", "req_0a-9"), ("", None), ("two words", None), ("x" * 129, None), ("<b>", None)],
)
def test_an_id_of_a_call_is_one_word(text: str, wanted: str | None) -> None:
    assert request_id(answer(200, x_request_id=text)) == wanted


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_no_other_refusal(status: int) -> None:
    error = failure(answer(status, body=error_body(code="invalid_api_key")))

    assert isinstance(error, ProviderKeyRefusedError)
    assert f"({status}, code invalid_api_key)" in error.message


@pytest.mark.parametrize("code", ["insufficient_quota", "credit_balance_exhausted", "billing_not_active"])
@pytest.mark.parametrize("location", ["code", "type"])
def test_an_account_without_credit_is_not_asked_again(code: str, location: str) -> None:
    error = failure(answer(429, body=error_body(**{location: code}), retry_after="5"))

    assert not error.retryable
    assert "no credit" in error.message


@given(status=st.integers(100, 599), body=st.binary(max_size=200), header=st.text(max_size=40))
def test_any_other_answer_means_something(status: int, body: bytes, header: str) -> None:
    """Whatever comes: an error of ours, which says money is safe only where a status is a refusal."""
    if status == 200:
        return
    error = failure(RawAnswer(status, {"retry-after": header, "x-request-id": header}, body))

    assert isinstance(error, ProviderFailedError)
    assert isinstance(error, AnswerLostError) is not (300 <= status < 500)
    assert error.message.isprintable()


@given(code=st.text(max_size=80), param=st.text(max_size=80))
def test_the_providers_words_are_repeated_only_where_they_are_identifiers(code: str, param: str) -> None:
    error = failure(answer(400, body=error_body(code=code, param=param)))

    assert "sk-secret" not in error.message
    assert error.message.isascii()
    assert len(error.message) < 300


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": null}', b'{"data": [{}]', b"\xff\xfe"])
def test_a_200_that_is_no_reply_is_lost(body: bytes) -> None:
    with pytest.raises(AnswerLostError) as caught:
        read_reply(answer(200, body=body, x_request_id="req_1"))
    assert caught.value.request_id == "req_1"


@pytest.mark.parametrize(
    "data", [[], [{}], [{"b64_json": None}], [{"b64_json": ""}], [{"b64_json": "?"}], [{"b64_json": "é"}]]
)
def test_a_reply_may_hold_no_picture(data: list[dict[str, object]]) -> None:
    reply = read_reply(answer(200, body=json.dumps({"data": data}).encode()))

    assert isinstance(reply, ImageReply)
    assert picture_of(reply) is None
