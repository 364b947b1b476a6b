"""Imports the ``models.py`` of every package, so that the mappings are complete."""

from importlib import import_module
from pathlib import Path
from typing import Final

from kroma.db.base import Base

_PACKAGE: Final = Path(__file__).parent

for _models in sorted(_PACKAGE.glob("*/models.py")):
    import_module(f"kroma.{_models.parent.name}.models")

metadata = Base.metadata
