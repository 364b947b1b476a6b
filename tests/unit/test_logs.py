"""Lines of libraries in the shape of our own, and ids of requests."""

import io
import json
import logging
import sys

import pytest
import structlog

from kroma.config import LogOptions
from kroma.logs import LibraryLines, configure_logs, request_id_of


def line_of(record: logging.LogRecord) -> dict[str, str]:
    return json.loads(LibraryLines().format(record))


def test_what_a_library_warns_of_is_one_line_of_json() -> None:
    record = logging.LogRecord("some.library", logging.WARNING, "x.py", 1, "it %s\nso", ("is",), None)

    line = line_of(record)

    assert (line["event"], line["logger"], line["level"]) == ("it is\nso", "some.library", "warning")
    assert line["timestamp"].endswith("+00:00")
    assert "\n" not in LibraryLines().format(record)


def test_an_exception_of_a_library_is_in_its_line_without_local_variables() -> None:
    password = "secret-" + "word"
    try:
        _ = {}[len(password)]
    except KeyError:
        record = logging.LogRecord("some.library", logging.ERROR, "x.py", 1, "lost", (), sys.exc_info())

    line = line_of(record)

    assert "KeyError: 11" in line["exception"]
    assert "secret-word" not in json.dumps(line)


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, "line\nbreak", "é"])
def test_what_is_no_id_gets_one(given: str | None) -> None:
    made = request_id_of(given)

    assert made != given
    assert len(made) == 32
    assert made != request_id_of(given)


def test_an_id_is_kept() -> None:
    assert request_id_of("0af7651916cd43dd-8448.eb2_1c") == "0af7651916cd43dd-8448.eb2_1c"


TOKEN = "kroma_" + "0123456789abcdef" * 4


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_token_is_masked_wherever_it_was_pasted(
    form: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    configure_logs(LogOptions(format=form))
    log = structlog.get_logger()
    try:
        _ = {}[TOKEN]
    except KeyError as exc:
        log.exception("lost", exc_info=exc)
    log.info("event", said=f"of {TOKEN}", path=f"/{TOKEN}/x", nested={"a": [TOKEN]}, **{TOKEN: 1})
    out = capsysbinary.readouterr().out.decode()

    assert out.count("kroma_***") == 5
    assert TOKEN[6:14] not in out


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_token_is_masked_in_lines_of_libraries(form: str) -> None:
    stream = io.StringIO()
    logger = logging.getLogger()
    before = logger.handlers[:]
    logger.handlers.clear()
    try:
        configure_logs(LogOptions(format=form), stream=stream)
        logging.getLogger("some.library").warning("went to /%s", TOKEN)
    finally:
        logger.handlers[:] = before

    assert "kroma_***" in stream.getvalue()
    assert TOKEN[6:14] not in stream.getvalue()


@pytest.mark.parametrize("key", [TOKEN[:40], TOKEN[:40].upper(), "sk-proj-a1b2c3", "AKIAIOSFODNN7EXAMPLE"])
def test_a_key_is_no_id_of_a_request(key: str) -> None:
    assert request_id_of(key) != key
