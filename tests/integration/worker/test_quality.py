"""A run's candidates are checked beside their color: what its rows, reports and log say of it."""

import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from kroma.imaging.measures.settings import QualitySettings
from kroma.providers.fake import FakeOutcome
from kroma.runlog.reader import read_log
from support.builders.factories import png, scene_png
from support.harness.worker_harness import RowMapper, Studio

pytestmark = pytest.mark.timeout(60)

GOOD = scene_png(seed=0)  # the very picture of the first scene
OTHER = scene_png(seed=5)


def shifted(data: bytes) -> bytes:
    picture = np.asarray(Image.open(io.BytesIO(data)))
    buffer = io.BytesIO()
    Image.fromarray(np.roll(picture, (16, 24), (0, 1))).save(buffer, format="PNG")
    return buffer.getvalue()


def with_quality(studio: Studio, quality: dict[str, object]) -> None:
    folder = studio.settings.data_dir / "config"
    folder.mkdir()
    (folder / "pipeline.settings.json").write_text(json.dumps({"manifest_path": "manifest.json"}))
    (studio.settings.data_dir / "manifest.json").write_text(json.dumps({"quality": quality}))


def said_of(rows: RowMapper, index: int) -> dict[str, Any]:
    """The report on a candidate of the only job."""
    (candidate,) = [c for c in rows.candidates[rows.jobs[0].job_key] if c.candidate_index == index]
    (report,) = [r for r in rows.reports if r.candidate_id == candidate.id]
    assert report.report_type == "output_guard"
    # The columns stay the color guard's, as the original counted them.
    assert report.hard_failures == 0
    return report.summary_json


def outcomes(summary: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in summary["quality"]["checks"]}


async def test_the_picture_of_the_scene_beats_a_shifted_one_and_the_reports_say_why(studio: Studio) -> None:
    studio.script(FakeOutcome(candidate=1, data=shifted(GOOD)), FakeOutcome(candidate=2, data=GOOD))
    rows = await studio.run_to_end(["harbor.png"])

    (job,) = rows.jobs
    assert job.selected_candidate_index == 2
    bad, good = rows.candidates[job.job_key]
    assert (bad.status, good.status) == ("done", "done")
    assert (bad.rank_soft_warnings, good.rank_soft_warnings) == (1, 1)
    assert good.meta_json["reason"].startswith("Chosen: fewest warnings (1 against 2); ")
    assert "structure warns of " in bad.meta_json["reason"]
    assert outcomes(said_of(rows, 1))["structure"] == "warning"
    assert outcomes(said_of(rows, 2))["structure"] == "passed"
    assert outcomes(said_of(rows, 2))["identity"] == "not_applicable"
    assert good.meta_json["quality"] == said_of(rows, 2)["quality"]

    (of_run,) = [report for report in rows.reports if report.candidate_id is None]
    over_all = of_run.summary_json["quality"]
    assert (over_all["candidates"], over_all["warnings"], over_all["failures"]) == (2, 1, 0)
    assert (over_all["checks"]["structure"]["passed"], over_all["checks"]["structure"]["warnings"]) == (1, 1)
    assert over_all["settings"] == msgspec.to_builtins(QualitySettings())
    assert rows.run.settings_snapshot_json["checks"] == over_all["settings"]
    log = read_log((studio.root / f"runs/run_{rows.run.id}.json").read_bytes(), source="log")
    assert log.checks is not None


async def test_a_hard_verdict_rejects_and_the_guards_counters_stay(studio: Studio) -> None:
    with_quality(studio, {"blank": {"verdict": "hard"}})
    studio.script(FakeOutcome(candidate=1, data=png(192, 128)), FakeOutcome(candidate=2, data=GOOD))
    rows = await studio.run_to_end(["harbor.png"])

    blank, good = rows.candidates["style_1_harbor"]
    assert (blank.status, blank.rank_hard_failures) == ("failed_output_guard", 0)
    assert (studio.root / f"archive/bad/{rows.run.id}/style_1_harbor__c1_bad.png").is_file()
    assert blank.meta_json["output_guard"]["bad_archive"] == blank.output_path
    assert blank.meta_json["reason"].startswith("Rejected: color 0 against a threshold of 2, blank failed")
    assert said_of(rows, 1)["quality"]["failures"] == 1
    assert good.meta_json["reason"].startswith("Chosen: the only candidate that passed; ")
    assert rows.run.status == "ok"


async def test_a_run_of_nothing_but_blanks_fails_where_that_is_hard(studio: Studio) -> None:
    with_quality(studio, {"blank": {"verdict": "hard"}})
    rows = await studio.run_to_end(["harbor.png"])
    assert [job.status for job in rows.jobs] == ["failed_output_guard"]
    assert rows.run.error_code == "pipeline_command_failed"


async def test_a_copy_ranks_behind_and_is_rejected_where_that_is_hard(studio: Studio) -> None:
    with_quality(studio, {"duplicate": {"verdict": "hard"}})
    studio.script(FakeOutcome(candidate=3, data=OTHER), FakeOutcome(data=GOOD))
    rows = await studio.run_to_end(["harbor.png"], candidates=3)

    first, copy, other = rows.candidates["style_1_harbor"]
    assert [c.status for c in (first, copy, other)] == ["done", "failed_output_guard", "done"]
    assert "duplicate failed with 0% apart from candidate 1" in copy.meta_json["reason"]
    assert (studio.root / copy.output_path).is_file()
    assert rows.jobs[0].selected_candidate_index == 1


async def test_the_size_asked_for_is_held_against_the_picture(studio: Studio) -> None:
    studio.script(FakeOutcome(data=GOOD))
    rows = await studio.run_to_end(["harbor.png"], candidates=1, size="384x256")
    (size,) = [c for c in said_of(rows, 1)["quality"]["checks"] if c["name"] == "size"]
    assert (size["outcome"], size["reason"]) == ("warning", "192x128 for 384x256")


async def test_a_dry_run_reports_no_quality_that_nobody_measured(studio: Studio) -> None:
    rows = await studio.run_to_end(["harbor.png"], mode="dry", confirm_spend=None)
    assert len(rows.reports) == 2
    assert all("quality" not in report.summary_json for report in rows.reports)
