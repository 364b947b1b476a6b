"""Job keys: stage, position and scene name, unique in a run (pipeline.md 4.2)."""

import re
from pathlib import PurePosixPath
from typing import Final

from kroma.runs.models import Stage

MAX_STEM_CHARACTERS: Final = 120
"""File names have at most 255 bytes, and every post-processing step adds a suffix."""

_OUTSIDE: Final = re.compile(r"[^a-z0-9_-]")
_PREFIX: Final = re.compile(rf"^(?:{'|'.join(Stage)})_[0-9]+_(?=.)")
_UNDERSCORES: Final = re.compile(r"_+")
_ASCII_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def cleaned_stem(name: str) -> str:
    """The part of a file name before its extension, in ``[a-z0-9_-]``; may be empty."""
    # Only ASCII is lower-cased: the Kelvin sign becomes an underscore, not a k.
    stem = _OUTSIDE.sub("_", PurePosixPath(name).stem.translate(_ASCII_LOWER))
    return _UNDERSCORES.sub("_", stem).strip("_")[:MAX_STEM_CHARACTERS].rstrip("_")


def scene_name(job_key: str) -> str:
    """The scene's part of a job key, which later stages of the scene keep."""
    return _PREFIX.sub("", job_key, count=1)


def job_key(stage: Stage, position: int, scene: str) -> str:
    """The key of the job at a position of the plan, from 1: ``style_1_scene_01``."""
    return f"{stage}_{position}_{cleaned_stem(scene) or position}"
