"""Addresses, paths and numbers of the environment that cannot be meant."""

from pathlib import Path

import pytest

from kroma.config import Settings, SettingsError
from kroma.db.wait_for_database import shown_address

NOWHERE = "~nobody-of-this-name/x"
HOSTED = {"KROMA_STORE": "s3", "KROMA_S3_BUCKET": "comics"}


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables, data_dir=Path("/data"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KROMA_DATABASE_URL", "mysql://x"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@db:99999/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@db:-5/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@db:5_432/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://kroma:p@ss@db/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@db/kroma?sslmode"),
        ("KROMA_DATABASE_URL", "postgresql:///kroma?host=db&port=99999"),
        ("KROMA_REDIS_URL", "http://redis"),
        ("KROMA_REDIS_URL", "redis://redis:99999"),
        ("KROMA_REDIS_URL", "redis://redis:-5"),
        ("KROMA_REDIS_URL", "redis://redis/zero"),
        ("KROMA_REDIS_URL", "redis://redis?db=zero"),
        ("KROMA_REDIS_URL", "redis://redis/0?foo=bar"),
        ("KROMA_REDIS_URL", "redis://redis/0?ssl_ca_certs=/ca.pem"),
        ("KROMA_PUBLIC_URL", "http://"),
        ("KROMA_PUBLIC_URL", "http://x y"),
        ("KROMA_PUBLIC_URL", "http://:99999"),
        ("KROMA_PUBLIC_URL", "https://kroma.example/?a=b"),
        ("KROMA_PUBLIC_URL", "http://[::1"),
        ("KROMA_AGENT_API_URL", "nonsense"),
        ("KROMA_AGENT_API_URL", "ftp://x"),
        ("KROMA_AGENT_API_URL", "file:///etc/passwd"),
        ("KROMA_S3_ENDPOINT_URL", "http://"),
        ("KROMA_S3_ENDPOINT_URL", "http://x y/"),
        ("KROMA_S3_ENDPOINT_URL", "http://x:99999"),
        ("KROMA_S3_REGION", "not a region!"),
        ("KROMA_S3_REGION", "-eu"),
        ("KROMA_REALESRGAN_BIN", NOWHERE),
        ("KROMA_REALESRGAN_MODELS", NOWHERE),
        ("KROMA_MASTER_KEY_FILE", NOWHERE),
        ("KROMA_WORKER_JOBS", "9" * 5000),
        ("KROMA_WORKER_JOBS", "99999999999999999999"),
        ("KROMA_WORKER_JOBS", "٨"),
        ("KROMA_CPU_PROCESSES", "1025"),
        ("KROMA_SYNC_CONCURRENCY", "1025"),
        ("KROMA_BACKEND_BIND", "127.0.0.1:8_788"),
        ("KROMA_BACKEND_BIND", "127.0.0.1:+80"),
        ("KROMA_BACKEND_BIND", "127.0.0.1:٨٠"),
        ("KROMA_LEASE_S", "1_0"),
        ("KROMA_LEASE_S", "+30"),
        ("KROMA_LEASE_S", "٣٠"),
        ("KROMA_LEASE_S", "infinity"),
    ],
)
def test_what_cannot_be_meant_is_one_line_that_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**HOSTED | {variable: value})

    assert caught.value.message.startswith(f"{variable} ")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KROMA_URL_ALLOW", "agent.lan, http://me:hunter2@agent.lan"),
        ("KROMA_URL_ALLOW", "me:hunter2@agent.lan"),
        ("KROMA_DATABASE_URL", "postgres://me:hunter2@db:99999/kroma"),
        ("KROMA_DATABASE_URL", "me:hunter2@db/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://me:hun@hunter2@db/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://me:hunter2/@db/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://me@db/kroma?hunter2"),
        ("KROMA_DATABASE_URL", "postgresql://me@db/kroma?password=hunter2&port=x"),
        ("KROMA_DATABASE_URL_FILE", "postgresql://me:hunter2@db/kroma"),
        ("KROMA_DATABASE_PASSWORD_FILE", "hunter2"),
        ("KROMA_MASTER_KEY_FILE", "~hunter2"),
        ("KROMA_REDIS_URL", "redis://:hunter2@redis:99999"),
        ("KROMA_REDIS_URL", "redis://:hunter2@redis/zero"),
        ("KROMA_REDIS_URL", "redis://redis/0?hunter2=x"),
        ("KROMA_REDIS_URL", "redis://redis/0?secret_word=hunter2"),
        ("KROMA_PUBLIC_URL", "https://me:hunter2@kroma.example"),
        ("KROMA_PUBLIC_URL", "https://me:hunter2@kroma.example/?a=b"),
        ("KROMA_AGENT_API_URL", "https://me:hunter2@agent.example/run"),
        ("KROMA_AGENT_API_URL", "hunter2"),
        ("KROMA_S3_ENDPOINT_URL", "https://me:hunter2@s3.example"),
        ("KROMA_S3_ENDPOINT_URL", "https://hunter2@s3.example:99999"),
        ("KROMA_S3_BUCKET", "s3://me:hunter2@bucket"),
        ("KROMA_S3_REGION", "hunter2!"),
        ("KROMA_BACKEND_BIND", "hunter2@127.0.0.1:80"),
        ("KROMA_METRICS_BIND", "hunter2@127.0.0.1:80"),
        ("KROMA_CALLBACK_KEY", "hunter2"),
        ("KROMA_PROVIDER_RPM", "hunter2"),
        ("KROMA_STORE", "hunter2"),
        ("KROMA_QUEUE", "hunter2"),
        ("KROMA_LOG_LEVEL", "hunter2"),
        ("KROMA_FACE_MODEL_SHA256", "hunter2"),
    ],
)
def test_no_refusal_repeats_what_was_given(variable: str, value: str) -> None:
    # Whatever it is, it may be a password that was put into the wrong variable, or an address with one.
    others = {"KROMA_DATABASE_URL": "postgresql://me@db/kroma"} if "PASSWORD" in variable else {}
    face = {"KROMA_FACE_MODEL": "/model.onnx"}
    with pytest.raises(SettingsError) as caught:
        settings(**HOSTED | face | {"KROMA_FACE_MODEL_SHA256": "0" * 64} | others | {variable: value})

    assert variable in caught.value.message
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@db:5432/kroma",
        "postgresql://db:5432/kroma?user=me&password=hunter2",
        "postgresql://db:5432/kroma?user=me&password=x@hunter2",
        "postgresql://me:hunter2@db:5432/kroma?password=hunter2@x#hunter2",
    ],
)
def test_a_shown_database_has_no_password(url: str) -> None:
    assert shown_address(url) == "db:5432/kroma"


@pytest.mark.parametrize("name", ["KROMA_DATA_DIR", "--data-dir"])
def test_a_data_directory_in_nobodys_home_is_refused(name: str) -> None:
    given = {name: NOWHERE} if name == "KROMA_DATA_DIR" else {}
    with pytest.raises(SettingsError, match=f"^{name} starts with the home directory of an unknown user$"):
        Settings.from_environment(given, data_dir=None if given else Path(NOWHERE))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KROMA_DATABASE_URL", "postgresql://kroma:p%40ss@db:5432/kroma?sslmode=require&search_path=art"),
        ("KROMA_DATABASE_URL", "postgres://kroma@[::1]:5432/kroma"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@first,second:5432/kroma?target_session_attrs=read-write"),
        ("KROMA_DATABASE_URL", "postgresql:///kroma?host=/run/postgresql&port=5433"),
        ("KROMA_DATABASE_URL", "postgresql://kroma@/kroma?host=/run/postgresql"),
        ("KROMA_REDIS_URL", "redis://:secret@redis:6379/0"),
        ("KROMA_REDIS_URL", "rediss://app:secret@redis.example?db=1&ssl_ca_certs=/ca.pem"),
        ("KROMA_REDIS_URL", "unix:///run/redis.sock?db=2"),
        ("KROMA_PUBLIC_URL", "https://kroma.example/api"),
        ("KROMA_PUBLIC_URL", "https://malerei-grün.example:8443"),
        ("KROMA_AGENT_API_URL", "http://agent_one:8000/hook?team=art"),
        ("KROMA_S3_ENDPOINT_URL", "http://[::1]:7070"),
        ("KROMA_S3_REGION", "us-gov-west-1"),
        ("KROMA_LEASE_S", "2.5"),
        ("KROMA_LEASE_S", "30."),
    ],
)
def test_what_can_be_meant_is_taken(variable: str, value: str) -> None:
    settings(**HOSTED | {variable: value})
