"""Run logs as bytes."""

import json
from pathlib import Path

import pytest

from kroma.runlog.reader import read_log
from kroma.runlog.writer import encode, summary_lines

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"


@pytest.mark.parametrize("name", ["v2_run.json", "v2_dry.json"])
def test_a_log_that_was_read_is_written_the_same(name: str) -> None:
    data = (LOGS / name).read_bytes()

    assert encode(read_log(data, source=name)) == data


def test_a_log_is_indented_by_two_spaces_and_ends_with_a_newline() -> None:
    text = (LOGS / "v2_dry.json").read_text()

    assert text.startswith('{\n  "timestamp": ')
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")


def test_a_planned_job_has_no_fields_of_an_executed_one() -> None:
    (job, _) = json.loads((LOGS / "v2_dry.json").read_bytes())["jobs"]

    absent = {"selected_candidate", "final_output", "output", "failure_reason", "candidates", "output_guard"}
    assert not absent & job.keys()


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [pytest.param("dry", "dry/planned", id="dry"), pytest.param("run", "run/completed", id="run")],
)
def test_the_summary_has_four_lines_and_a_marker(mode: str, suffix: str) -> None:
    lines = summary_lines(
        run_log_path="runs/run_1.json", project_slug="comic", project_root="/p/comic", jobs=3, mode=mode
    )

    summary = '{"run_log_path":"runs/run_1.json","project_slug":"comic","project_root":"/p/comic","jobs":3,'
    assert lines == [
        "Run log: runs/run_1.json",
        "Project: comic",
        "Project root: /p/comic",
        f"Jobs: 3 ({suffix})",
        f'KROMA_PIPELINE_SUMMARY_JSON: {summary}"mode":"{mode}"}}',
    ]
