"""Stores as an entry point opens them."""

from pathlib import Path
from uuid import uuid4

import pytest

from kroma.config import Settings, SettingsError
from kroma.resources import open_stores
from support.servers.s3_server import s3_environment

pytestmark = pytest.mark.timeout(60)


async def test_the_environment_chooses_the_store(data_dir: Path, s3_server: str, s3_bucket: str) -> None:
    hosted = Settings.from_environment(s3_environment(s3_server, s3_bucket), data_dir=data_dir)
    async with open_stores(hosted) as stores:
        store = stores.open(stores.locate(project_id=uuid4(), slug="comic", storage=None))
        await store.check_writable()
        assert (stores.hosted, store.backend) == (True, "s3")

    async with open_stores(Settings.from_environment({}, data_dir=data_dir)) as stores:
        location = stores.locate(project_id=uuid4(), slug="comic", storage=None)
        assert (stores.hosted, location) == (False, f"{data_dir}/var/projects/comic")


async def test_a_profile_that_does_not_exist_is_a_wrong_setting(data_dir: Path) -> None:
    variables = {"KROMA_STORE": "s3", "KROMA_S3_BUCKET": "comics", "KROMA_S3_PROFILE": "kroma-nobody"}
    settings = Settings.from_environment(variables, data_dir=data_dir)

    with pytest.raises(SettingsError, match=r"^KROMA_S3_PROFILE cannot be used: .*kroma-nobody"):
        async with open_stores(settings):
            pass


async def test_a_region_of_the_machine_that_is_none_is_a_wrong_setting(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu west")
    variables = {"KROMA_STORE": "s3", "KROMA_S3_BUCKET": "comics"}
    settings = Settings.from_environment(variables, data_dir=data_dir)

    with pytest.raises(SettingsError, match=r"^KROMA_S3_REGION is not set, .* is no name of a region"):
        async with open_stores(settings):
            pass
