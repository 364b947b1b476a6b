"""Variables whose values stand in files, and passwords apart from their addresses."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url

from kroma.config import Settings, SettingsError
from kroma.db.engine import async_url

SECRET = "p@ss/w:rd?#%20 é"
DATABASE = "postgresql://kroma@db:5432/kroma"


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables, data_dir=Path("/data"))


def refusal(**variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**variables)
    return caught.value.message


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(f"  {SECRET}\n")
    return str(file)


def test_a_value_may_stand_in_a_file(secret_file: str) -> None:
    assert settings(KROMA_AGENT_API_TOKEN_FILE=secret_file).agent.token == SECRET
    assert settings(KROMA_OPENAI_API_KEY_FILE=secret_file).openai.api_key == SECRET


def test_a_file_beats_the_originals_name_of_a_variable(secret_file: str) -> None:
    given = {"KROMA_AGENT_API_TOKEN_FILE": secret_file, "IAT_AGENT_API_TOKEN": "old"}
    assert settings(**given).agent.token == SECRET


def test_blank_variables_leave_it_to_the_other(secret_file: str) -> None:
    assert settings(KROMA_QUEUE="postgres", KROMA_QUEUE_FILE="  ").queue == "postgres"
    given = {"KROMA_AGENT_API_TOKEN": " ", "KROMA_AGENT_API_TOKEN_FILE": secret_file}
    assert settings(**given).agent.token == SECRET


def test_variable_and_file_together_are_refused(secret_file: str) -> None:
    line = refusal(KROMA_QUEUE="arq", KROMA_QUEUE_FILE=secret_file)
    assert line == "KROMA_QUEUE and KROMA_QUEUE_FILE are both set; set only one of them"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(b" \n", "is empty", id="empty"),
        pytest.param(b"\xff\xfe", "is not UTF-8", id="bytes"),
        pytest.param(b"x" * 70_000, "is larger than 65536 bytes", id="endless"),
    ],
)
def test_a_file_without_a_value_names_its_variable(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    line = refusal(KROMA_AGENT_API_TOKEN_FILE=str(file))

    assert line == f"KROMA_AGENT_API_TOKEN_FILE names a file that {problem}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(KROMA_QUEUE_FILE=str(tmp_path)).endswith("cannot be read: Is a directory")


def test_a_wrong_value_of_a_file_is_not_shown(secret_file: str) -> None:
    assert SECRET not in refusal(KROMA_QUEUE_FILE=secret_file)
    assert SECRET not in refusal(KROMA_WORKER_JOBS_FILE=secret_file)
    assert SECRET not in refusal(KROMA_BACKEND_BIND_FILE=secret_file)


def test_the_file_of_the_master_key_is_where_the_key_is_kept() -> None:
    key = settings(KROMA_MASTER_KEY_FILE="keys/master.key").master_key
    assert (key.text, key.file) == (None, Path("/data/keys/master.key"))


def test_a_password_is_put_into_its_address(secret_file: str) -> None:
    url = settings(KROMA_DATABASE_URL=DATABASE, KROMA_DATABASE_PASSWORD_FILE=secret_file).database_url

    assert url is not None
    parsed = make_url(async_url(url))
    assert (parsed.username, parsed.password, parsed.host, parsed.port) == ("kroma", SECRET, "db", 5432)
    assert parsed.database == "kroma"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("redis://redis:6379/0", "redis://:x%2Fy@redis:6379/0", id="no user"),
        pytest.param("redis://app@redis", "redis://app:x%2Fy@redis", id="a user, no path"),
        pytest.param("redis://redis?db=1", "redis://:x%2Fy@redis?db=1", id="a query"),
        pytest.param("unix:///run/redis.sock", "unix://:x%2Fy@/run/redis.sock", id="a socket"),
    ],
)
def test_a_password_finds_its_place_in_every_address(url: str, expected: str) -> None:
    assert settings(KROMA_REDIS_URL=url, KROMA_REDIS_PASSWORD="x/y").redis_url == expected
    assert urlsplit(expected).password == "x%2Fy"


def test_two_passwords_are_refused_and_not_shown() -> None:
    line = refusal(KROMA_DATABASE_URL="postgresql://kroma:first@db/kroma", KROMA_DATABASE_PASSWORD="second")
    assert (
        line == "KROMA_DATABASE_PASSWORD and KROMA_DATABASE_URL both have a password; keep only one of them"
    )


def test_a_password_without_an_address_changes_nothing() -> None:
    assert settings(KROMA_DATABASE_PASSWORD="x").database_url is None
