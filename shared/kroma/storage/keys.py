"""Object keys of one project, after the folders of pipeline.md 1.4; keys carry the run."""

from pathlib import PurePosixPath
from uuid import UUID


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


def sheet_key(run_id: UUID) -> str:
    """The contact sheet of a run."""
    return f"sheets/{run_id}.png"


def sidecar_key(picture: str) -> str:
    """The file beside a picture that says how it was made."""
    return f"{picture}.json"
