"""Where files are kept, by the environment."""

from pathlib import Path

import pytest

from kroma.config import Settings, SettingsError, StoreOptions

HOSTED = {"KROMA_STORE": "s3", "KROMA_S3_BUCKET": "comics"}


def settings(**variables: str) -> Settings:
    return Settings.from_environment(variables, data_dir=Path("/data"))


def test_a_directory_is_the_default_and_the_bucket_is_not_looked_at() -> None:
    store = settings(KROMA_S3_ENDPOINT_URL="nonsense", KROMA_S3_BUCKET="!").store

    assert store == StoreOptions()
    assert not store.is_hosted


def test_a_bucket_is_chosen_with_where_it_is_and_who_asks() -> None:
    store = settings(
        **HOSTED,
        KROMA_S3_PREFIX="/studio/kroma/",
        KROMA_S3_ENDPOINT_URL="http://s3:7070",
        KROMA_S3_REGION="eu-central-1",
        KROMA_S3_ACCESS_KEY_ID="key",
        KROMA_S3_SECRET_ACCESS_KEY="hush",
        KROMA_S3_SESSION_TOKEN="hush",
    ).store

    assert store.is_hosted
    assert (store.bucket, store.prefix, store.access.endpoint_url) == (
        "comics",
        "studio/kroma",
        "http://s3:7070",
    )
    assert "hush" not in repr(store)
    assert settings(**HOSTED).store.prefix == "iat-projects"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        pytest.param({"KROMA_STORE": "ftp"}, "KROMA_STORE must be one of: directory, s3", id="store"),
        pytest.param({"KROMA_S3_BUCKET": ""}, "KROMA_S3_BUCKET must be set", id="no bucket"),
        pytest.param({"KROMA_S3_BUCKET": "a b c"}, "KROMA_S3_BUCKET must be a bucket name", id="bucket"),
        pytest.param({"KROMA_S3_PREFIX": "a/../b"}, "KROMA_S3_PREFIX must be folder names", id="prefix"),
        pytest.param(
            {"KROMA_S3_ENDPOINT_URL": "s3:7070"}, "KROMA_S3_ENDPOINT_URL must start with http", id="endpoint"
        ),
        pytest.param(
            {"KROMA_S3_ACCESS_KEY_ID": "key"}, "KROMA_S3_SECRET_ACCESS_KEY must be set", id="half a key"
        ),
        pytest.param(
            {"KROMA_S3_SECRET_ACCESS_KEY": "hush"}, "KROMA_S3_ACCESS_KEY_ID must be set", id="the other half"
        ),
    ],
)
def test_a_wrong_store_is_one_line_that_names_the_variable(variables: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**HOSTED | variables)

    assert caught.value.message.startswith(told)
    assert "\n" not in caught.value.message
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        pytest.param({}, "KROMA_CALLBACK_KEY", id="none"),
        pytest.param({"KROMA_CALLBACK_KEY": "k" * 32}, "KROMA_MASTER_KEY", id="one"),
    ],
)
def test_machines_that_share_no_disk_are_told_which_key_they_must_share(
    given: dict[str, str], missing: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} must be set"):
        settings(**HOSTED, **given).refuse_keys_of_one_machine()


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="one disk"),
        pytest.param(HOSTED | {"KROMA_CALLBACK_KEY": "k" * 32, "KROMA_MASTER_KEY": "m"}, id="both keys"),
        pytest.param(
            HOSTED | {"KROMA_CALLBACK_KEY": "k" * 32, "KROMA_MASTER_KEY_FILE": "/run/secrets/key"},
            id="a file",
        ),
    ],
)
def test_keys_that_all_machines_have_are_enough(variables: dict[str, str]) -> None:
    settings(**variables).refuse_keys_of_one_machine()
