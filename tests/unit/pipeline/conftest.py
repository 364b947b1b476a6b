"""Fixtures of the pipeline's unit tests."""

from pathlib import Path

import pytest

from support.builders.config_project import ConfigProject


@pytest.fixture
def project(tmp_path: Path) -> ConfigProject:
    return ConfigProject(tmp_path / "data")
