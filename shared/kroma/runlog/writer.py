"""Encodes run logs, and formats the summary that a run prints."""

import msgspec

from kroma.runlog.schema import RunLog

SUMMARY_MARKER = "KROMA_PIPELINE_SUMMARY_JSON:"

_encoder = msgspec.json.Encoder()


def encode(log: RunLog) -> bytes:
    """The log as JSON with two-space indentation and a final newline, without unset fields."""
    return msgspec.json.format(_encoder.encode(log), indent=2) + b"\n"


def summary_lines(
    *, run_log_path: str, project_slug: str, project_root: str, jobs: int, mode: str
) -> list[str]:
    """The output of a finished run (pipeline.md 8.4): four lines for people, one for programs."""
    summary = {
        "run_log_path": run_log_path,
        "project_slug": project_slug,
        "project_root": project_root,
        "jobs": jobs,
        "mode": mode,
    }
    outcome = "dry/planned" if mode == "dry" else "run/completed"
    return [
        f"Run log: {run_log_path}",
        f"Project: {project_slug}",
        f"Project root: {project_root}",
        f"Jobs: {jobs} ({outcome})",
        f"{SUMMARY_MARKER} {_encoder.encode(summary).decode()}",
    ]
