"""Object keys of one project, after the folders of pipeline.md 1.4; keys carry the run."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

THUMBNAILS_FOLDER: Final = ".kroma/thumbnails"
"""Small pictures that are made again when they are missing: no scenes, and not worth a copy elsewhere."""

_LONGEST_STEM: Final = 60
_HASH_CHARACTERS: Final = 12


def run_log_key(run_id: UUID) -> str:
    """Where the log of a run lies; equal to ``run_log_path``."""
    return f"runs/run_{run_id}.json"


def output_key(
    run_id: UUID, job_key: str, candidate_index: int, extension: str = "png", *, variant: int = 0
) -> str:
    """A generated candidate; ``variant`` tells it from one that may still come late."""
    name = f"{job_key}__c{candidate_index}{f'_{variant + 1}' if variant else ''}"
    return f"outputs/{run_id}/{name}.{extension}"


def answer_key(run_id: UUID, call_id: UUID) -> str:
    """The note of what a provider answered to a call that costs money."""
    return f"answers/{run_id}/{call_id}.json"


def bad_key(run_id: UUID, output: str) -> str:
    """Where a rejected candidate goes."""
    name = PurePosixPath(output)
    return f"archive/bad/{run_id}/{name.stem}_bad{name.suffix}"


def derived_key(
    folder: str, run_id: UUID, source: str, suffix: str, extension: str, *, variant: int = 0
) -> str:
    """What a tool made of a picture (pipeline.md 7.4); ``variant`` as with ``output_key``."""
    stem = clean_part(PurePosixPath(source).stem) or "image"
    again = f"_{variant + 1}" if variant else ""
    return f"{folder}/{run_id}/{stem}_{clean_part(suffix)}{again}.{extension}"


def clean_part(text: str) -> str:
    """A part of a file name in ``[a-z0-9_-]``; underscores that were there stay."""
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_")


def sheet_key(run_id: UUID) -> str:
    """The contact sheet of a run."""
    return f"sheets/{run_id}.png"


def sidecar_key(picture: str) -> str:
    """The file beside a picture that says how it was made."""
    return f"{picture}.json"


def upload_key(folder: str, name: str, sha256: str, extension: str, *, variant: int = 0) -> str:
    """Where an uploaded picture lies; ``variant`` where other bytes have taken its name.

    Of the sent name only letters and digits that every file system takes are left, accents dropped.
    """
    plain = unicodedata.normalize("NFKD", PurePosixPath(name).stem).encode("ascii", "ignore").decode()
    stem = clean_part(plain)[:_LONGEST_STEM].rstrip("_") or "picture"
    again = f"-{variant + 1}" if variant else ""
    return f"{folder}/{stem}-{sha256[:_HASH_CHARACTERS]}{again}.{extension}"


def thumbnail_key(content: str, size_px: int) -> str:
    """A thumbnail of the picture whose content this names."""
    return f"{THUMBNAILS_FOLDER}/{content}_{size_px}.webp"


def is_thumbnail(key: str) -> bool:
    """Whether a key is one of a thumbnail."""
    return key.startswith(f"{THUMBNAILS_FOLDER}/")
